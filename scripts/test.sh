#!/usr/bin/env bash
# Runs all tests and ends with one line that adds them up: `N passed, M failed`.
# Fails if a test fails, if something does not compile, or if there was no test at all.
#
# The end-to-end suite runs with each store: in memory, embedded, in CQL, in MariaDB, in Valkey, and in DynamoDB Local. Arguments go to the first
# run of cargo test; with any, the other runs are left out.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

log=$(mktemp)
servers=$(mktemp -d)
# One CQL server for all tests that need one; it is never killed, so it need not sync each write. While it starts, other things are built. Should this script be killed, its
# standard input closes, and it stops.
mkfifo "$servers/held"
CQL_SYNC=periodic scripts/cql.sh hold "$servers/cql" <"$servers/held" &
cql=$!
exec 9>"$servers/held"
# And one of MariaDB, which is there in seconds.
scripts/mariadb.sh hold "$servers/mariadb" <"$servers/held" &
mariadb=$!
# And DynamoDB Local, likewise.
scripts/dynamodb.sh hold "$servers/dynamodb" <"$servers/held" &
dynamodb=$!
trap 'kill "$cql" "$mariadb" "$dynamodb" 2>/dev/null; wait "$cql" "$mariadb" "$dynamodb"; rm -rf "$log" "$servers"' EXIT
export COUNTERSIGN_TEST_CQL=$servers/cql
export COUNTERSIGN_TEST_MARIADB=$servers/mariadb
export COUNTERSIGN_TEST_DYNAMODB=$servers/dynamodb
status=0

scripts/test-by-hand.sh </dev/null 2>&1 | tee "$log" || status=1
cargo test --workspace --all-features --locked --no-run "$@" </dev/null || status=1
# awaited PROCESS FOLDER NAME: waits until a server has said its address.
awaited() {
  until [[ -e $2/address ]]; do
    kill -0 "$1" 2>/dev/null || { echo "$3 did not start." && status=1 && break; }
    read -r -t 0.2 <> <(:) || true
  done
}
awaited "$mariadb" "$COUNTERSIGN_TEST_MARIADB" "The MariaDB server"
awaited "$cql" "$COUNTERSIGN_TEST_CQL" "The CQL server"
awaited "$dynamodb" "$COUNTERSIGN_TEST_DYNAMODB" "DynamoDB Local"
cargo test --workspace --all-features --locked --no-fail-fast "$@" </dev/null 2>&1 | tee -a "$log" || status=1
# The end-to-end suite again, over other stores than those of a single process. `store ephemeral`, as
# service/tests/end_to_end/support/process.rs knows them. Arguments choose tests of the run above only.
if (($# == 0)); then
  # As it was built above: of one package alone, cargo would build the dependencies with other features once more.
  suite=$(cargo test --workspace --all-features --locked --no-run --message-format=json 2>/dev/null |
    jq -r 'select(.target.name? == "end_to_end" and (.manifest_path | endswith("/service/Cargo.toml"))).executable')
  for stores in 'memory valkey' 'embedded valkey-cluster' 'scylla valkey-cluster' 'mariadb valkey' 'valkey valkey' 'dynamodb valkey'; do
    read -r store ephemeral <<<"$stores"
    echo "== end to end over $store and $ephemeral" | tee -a "$log"
    (cd service && COUNTERSIGN_TEST_STORE=$store COUNTERSIGN_TEST_EPHEMERAL=$ephemeral "$suite") </dev/null 2>&1 |
      tee -a "$log" || status=1
  done
fi
scripts/test-readme.sh </dev/null 2>&1 | tee -a "$log" || status=1
scripts/test-smart-card.sh </dev/null 2>&1 | tee -a "$log" || status=1
scripts/demo.sh --check </dev/null 2>&1 | tee -a "$log" || status=1
scripts/test-rules.sh </dev/null 2>&1 | tee -a "$log" || status=1
scripts/check-chart.sh </dev/null 2>&1 | tee -a "$log" || status=1

# A line of each test program: `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
read -r passed failed < <(awk '/^test result:/ {
  for (i = 2; i <= NF; i++) {
    if ($i ~ /^passed/) passed += $(i - 1)
    if ($i ~ /^failed/) failed += $(i - 1)
  }
} END {print passed + 0, failed + 0}' "$log")

summary="$passed passed, $failed failed"
if ((failed > 0 || passed == 0)); then
  status=1
elif ((status != 0)); then
  echo "No test failed, but not everything could be built and run: see above."
fi
[[ -z ${TEST_SUMMARY:-} ]] || echo "$summary" >"$TEST_SUMMARY"
echo "$summary"
exit "$status"
