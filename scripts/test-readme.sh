#!/usr/bin/env bash
# Follows README.md word by word, against the real service: runs its `sh` blocks in order, in a folder of its own.
# Needs a built service: COUNTERSIGND, or target/debug/countersignd.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR source=service-for-tests.sh
source scripts/service-for-tests.sh

# What a reader types, one line after the other; `make run` is what the first terminal does.
awk '/^```sh/ {inside = 1; next} /^```/ {inside = 0} inside' README.md >"$copy/commands"
[[ $(head -n 1 "$copy/commands") == "make run" ]] || fail "README.md does not begin with make run"
start_service

# Only what the README itself promises is expected of its commands: that each of them succeeds.
(cd "$copy" && tail -n +2 commands | bash -euo pipefail >reader.log 2>&1) || fail "a command of README.md failed"
grep -q "The meeting is at noon." "$copy/reader.log" || fail "the message did not arrive"
grep -q 'Good signature from "bob' "$copy/reader.log" || fail "the receipt did not arrive"
echo "test result: ok. 1 passed; 0 failed; README.md"
