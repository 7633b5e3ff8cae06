#!/usr/bin/env bash
# Measures one pod and three pods over a CQL server and a Valkey cluster of six, all on this machine, and stops everything
# afterwards. BENCH_PARTS picks some of pods,held,window,flush; service/benches/service/main.rs has the other settings.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
servers=()
stop() {
  exec 8>&- 9>&- || true
  for pid in "${servers[@]}"; do wait "$pid" || true; done
  rm -rf "$folder"
}
trap stop EXIT

mkfifo "$folder/cql-held" "$folder/valkey-held"
CQL_SYNC=${CQL_SYNC:-batch} CQL_HEAP=${CQL_HEAP:-2G} scripts/cql.sh hold "$folder/cql" <"$folder/cql-held" &
servers+=($!)
exec 8>"$folder/cql-held"
scripts/valkey.sh cluster <"$folder/valkey-held" >"$folder/valkey" &
servers+=($!)
exec 9>"$folder/valkey-held"

cargo bench --locked -p countersign-service --bench service --no-run
until [[ -e $folder/cql/address ]] && grep -qx ready "$folder/valkey"; do
  for pid in "${servers[@]}"; do kill -0 "$pid" 2>/dev/null || { echo "A server did not start." >&2 && exit 1; }; done
  read -r -t 0.2 <> <(:) || true
done
BENCH_CQL=$folder/cql BENCH_VALKEY=valkey://$(awk '$1 != "ready" {printf "%s127.0.0.1:%s", sep, $1; sep = ","}' "$folder/valkey") \
  cargo bench --locked -p countersign-service --bench service
