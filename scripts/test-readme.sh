#!/usr/bin/env bash
# Follows README.md word by word, against the real service: runs its `sh` blocks in order, in a folder of its own.
# Needs a built service: COUNTERSIGND, or target/debug/countersignd.
set -euo pipefail
cd "$(dirname "$0")/.."

binary=$(realpath "${COUNTERSIGND:-${CARGO_TARGET_DIR:-target}/debug/countersignd}")
copy=$(mktemp -d)
service=
finish() {
  if [[ -n $service ]]; then
    kill -INT "$service" 2>/dev/null || true
    wait "$service" || true
  fi
  # The agents of the people whom the README makes, which would outlive their folders.
  for home in "$copy"/data/demo/*/; do
    [[ -d $home ]] || continue
    (
      cd "$copy"
      # shellcheck disable=SC2034 # by-hand.sh reads it
      PEOPLE=$copy/data/demo
      # shellcheck source-path=SCRIPTDIR source=by-hand.sh
      source scripts/by-hand.sh
      gpgconf --homedir "$(gnupg_home "${home%/}")" --kill all
    ) >/dev/null 2>&1 || true
  done
  rm -rf "$copy"
}
trap finish EXIT
fail() {
  echo "$1" >&2
  tail -n 40 "$copy/service.log" "$copy/reader.log" >&2 2>/dev/null || true
  echo "test result: FAILED. 0 passed; 1 failed;"
  exit 1
}

cp -r scripts "$copy/"
# What a reader types, one line after the other; `make run` is what the first terminal does.
awk '/^```sh/ {inside = 1; next} /^```/ {inside = 0} inside' README.md >"$copy/commands"
[[ $(head -n 1 "$copy/commands") == "make run" ]] || fail "README.md does not begin with make run"

# exec, so that the number is the service's own.
(cd "$copy" && COUNTERSIGND=$binary COUNTERSIGN_LISTEN=127.0.0.1:0 COUNTERSIGN_ADMIN_LISTEN=127.0.0.1:0 \
  COUNTERSIGN_LOG_FORMAT=json exec scripts/run.sh >"$copy/service.log" 2>&1) &
service=$!
address=
for _ in $(seq 600); do
  address=$(jq --raw-input --raw-output 'fromjson? | select(.message == "listening") | .public' "$copy/service.log")
  [[ -z $address ]] || break
  kill -0 "$service" 2>/dev/null || fail "the service did not start"
  read -r -t 0.1 <> <(:) || true
done
[[ -n $address ]] || fail "the service did not say where it listens"

# Only what the README itself promises is expected of its commands: that each of them succeeds.
(cd "$copy" && tail -n +2 commands | COUNTERSIGN_URL=http://$address bash -euo pipefail >reader.log 2>&1) ||
  fail "a command of README.md failed"
grep -q "The meeting is at noon." "$copy/reader.log" || fail "the message did not arrive"
grep -q 'Good signature from "bob' "$copy/reader.log" || fail "the receipt did not arrive"
echo "test result: ok. 1 passed; 0 failed; README.md"
