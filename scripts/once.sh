# shellcheck shell=bash
# For scripts that install things into a folder of the cache, $root: each is done again only when its version is another.

mkdir -p "${root:?}/versions"
log=$root/install.log

# once <name> <what makes it new> <command…>: runs the command unless that has been done before.
once() {
  local name=$1 version=$2
  shift 2
  [[ $(cat "$root/versions/$name" 2>/dev/null) != "$version" ]] || return 0
  echo "Installing $name, once (log: $log) …" >&2
  # Not as a condition, within which bash would go on after a step that failed.
  set +e
  (
    set -e
    "$@"
  ) </dev/null >"$log" 2>&1
  local code=$?
  set -e
  if ((code != 0)); then
    tail -n 30 "$log" >&2
    echo "Could not install $name." >&2
    exit 1
  fi
  echo "$version" >"$root/versions/$name"
}
