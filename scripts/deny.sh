#!/usr/bin/env bash
# Checks licences, banned crates and sources of the dependencies. Security advisories are reported, and only where
# their database can be fetched: a new advisory is news about an old commit, so it does not make a build fail.
set -euo pipefail
cd "$(dirname "$0")/.."

deny=${COUNTERSIGN_CACHE:-$HOME/.cache/countersign}/cargo-tools/bin/cargo-deny

# What deny.toml only warns of is shown by `make deny VERBOSE=1`.
level=error
[[ -z ${VERBOSE:-} ]] || level=warn
"$deny" --log-level "$level" check licenses bans sources

if timeout 60 "$deny" --log-level off fetch db </dev/null >/dev/null 2>&1; then
  "$deny" check --disable-fetch advisories || echo "Advisories are reported, not enforced. Please look at the ones above."
else
  echo "The database of advisories cannot be fetched from here, so advisories were not checked."
fi
