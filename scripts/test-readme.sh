#!/usr/bin/env bash
# Follows README.md word by word, against the real service: runs its `sh` blocks in order, in a folder of its own.
# Needs built programs: COUNTERSIGND and COUNTERSIGN, or target/debug/countersignd and countersign.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR source=service-for-tests.sh
source scripts/service-for-tests.sh

# What a reader types, one line after the other; `make run` is what the first terminal does.
awk '/^```sh/ {inside = 1; next} /^```/ {inside = 0} inside' README.md >"$copy/commands"
[[ $(head -n 1 "$copy/commands") == "make run" ]] || fail "README.md does not begin with make run"
start_service
# Its client is built already.
client=$(realpath "${COUNTERSIGN:-${CARGO_TARGET_DIR:-target}/debug/countersign}")
[[ $(grep -c '^make client$' "$copy/commands") == 1 ]] || fail "README.md does not build the client once"
sed -i '/^make client$/d' "$copy/commands"
mkdir -p "$copy/target/release" && ln -s "$client" "$copy/target/release/countersign" && cp README.md "$copy/"

# Only what the README itself promises is expected of its commands: that each of them succeeds.
(cd "$copy" && tail -n +2 commands | bash -euo pipefail >reader.log 2>&1) || fail "a command of README.md failed"
grep -q "The meeting is at noon." "$copy/reader.log" || fail "the message did not arrive"
[[ $(grep -c 'Here are the minutes' "$copy/reader.log") == 3 ]] || fail "the client's message did not arrive"
cmp -s README.md "$copy/data/README.md" || fail "the client's file did not arrive"
grep -q 'emil has received it' "$copy/reader.log" || fail "the client's receipt did not arrive"
grep -q 'Good signature from "bob' "$copy/reader.log" || fail "the receipt did not arrive"
echo "test result: ok. 1 passed; 0 failed; README.md"
