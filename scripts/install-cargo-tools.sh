#!/usr/bin/env bash
# Installs the pinned versions of the cargo tools that `make lint` needs, outside the tree. Says nothing where they are
# there already.
set -euo pipefail

# name=version
tools=(cargo-deny=0.20.2)

root=${COUNTERSIGN_CACHE:-$HOME/.cache/countersign}/cargo-tools
mkdir -p "$root"
log=$root/install.log

for tool in "${tools[@]}"; do
  name=${tool%%=*}
  version=${tool#*=}
  if [[ -x $root/bin/$name && $("$root/bin/$name" --version) == "$name $version" ]]; then
    continue
  fi
  echo "Building $name $version, once; this takes some minutes (log: $log) …" >&2
  # Not in the project's own target folder: it would be rebuilt with other settings.
  if ! env -u CARGO_TARGET_DIR -u RUSTFLAGS cargo install --locked --force --root "$root" "$name@$version" \
    </dev/null >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "Could not build $name $version." >&2
    exit 1
  fi
done
