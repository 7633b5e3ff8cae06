#!/usr/bin/env bash
# Measures the stores side by side in one run on this machine, and writes docs/stores-measured.md (or the file that is given):
# new messages and checks a second and the CPU time of service and store, by `countersign-loadtest peers`, and what a listing takes
# where few and where many are held, by the benchmark `stores`. It takes about half an hour and wants the machine for itself.
#
#   SECONDS_EACH   how long each load lasts in each of two turns (30)
#   BENCH_HELD     messages held by the larger mailbox (300000)
set -euo pipefail
cd "$(dirname "$0")/.."

file=${1:-docs/stores-measured.md}
sides=(countersign-embedded countersign-mariadb countersign-cql countersign-valkey countersign-dynamodb)
names=('embedded' 'MariaDB' 'Cassandra' 'Valkey cluster' 'DynamoDB Local (an emulator)')
features=countersign-service/store-dynamodb,countersign-service/store-valkey
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

scripts/peers.sh install "${sides[@]}"
cargo build --release --locked -p countersign-service -p countersign-loadtest --features "$features" --bins
cargo bench --locked -p countersign-service --features "$features" --bench stores --no-run --message-format=json |
  jq -r 'select(.target.name? == "stores" and .executable != null).executable' >"$work/bench"
binaries=${CARGO_TARGET_DIR:-target}/release

# A message that a store loses fails the run.
"$binaries/countersign-loadtest" peers --only "$(IFS=, && echo "${sides[*]}")" --seconds "${SECONDS_EACH:-30}" --report "$work/peers"

"$binaries/countersign-loadtest" setup --super-administrators "$work/super-administrators.asc" >/dev/null
export COUNTERSIGND=$PWD/$binaries/countersignd COUNTERSIGN_SUPER_ADMINISTRATORS=$work/super-administrators.asc
[[ $binaries != /* ]] || COUNTERSIGND=$binaries/countersignd
for index in "${!sides[@]}"; do
  BENCH_NAME=${names[index]} scripts/peers.sh with "${sides[index]}" "$(cat "$work/bench")" | tee -a "$work/held"
done

{
  echo '# The stores, measured'
  echo
  echo "Written by \`make bench-stores\` on a machine with $(nproc) processors, which all servers and the load tester share. What it means for a choice:"
  echo '[Which store should I choose](stores.md).'
  sed -n '2,$p' "$work/peers/peers.md" | sed 's/^## Versions/## Versions of what was measured/'
  echo
  echo '## Listings over few and many held'
  echo
  echo 'A listing of 10 new messages, by the service'\''s own code on the store, in one process; 1 000 messages held, and many. Times in three turns of'
  echo 'each. Deriving last known good is what happens once when Valkey has lost it. Filling writes messages one by one, 64 at once, and confirms them.'
  echo
  echo '| store | held | listing, 1 000 held | listing, all held | ratio of medians | derivation, all held | rows filled a second |'
  echo '|---|--:|--:|--:|--:|--:|--:|'
  cat "$work/held"
} >"$work/page"
cp "$work/page" "$file"
echo "Written: $file"
