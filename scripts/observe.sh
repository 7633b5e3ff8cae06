#!/usr/bin/env bash
# Runs Countersign, a load and a canary on it, Prometheus and node exporter, on loopback ports, until Ctrl-C. Everything is a process of
# this script, in a folder that goes with it. What is there is written to the screen, and as `name=value` to the file
# $OBSERVE_STATE, if that is set. With --held, it ends when its standard input does, so that it never outlives its caller.
#
#   OBSERVE_PODS      processes of the service (1)
#   OBSERVE_STORE     embedded, for one process; or cql, for several, with Valkey beside it (embedded)
#   OBSERVE_RATE      messages a second, for the load tester (20)
#   OBSERVE_SCRAPE    how often Prometheus looks (5s)
#   OBSERVE_PROFILE   debug or release: which build is run (release)
set -euo pipefail
cd "$(dirname "$0")/.."

held=${1:-}
pods=${OBSERVE_PODS:-1} store=${OBSERVE_STORE:-embedded} scrape=${OBSERVE_SCRAPE:-5s}
binaries=${CARGO_TARGET_DIR:-target}/${OBSERVE_PROFILE:-release}
PATH=$PATH:${COUNTERSIGN_CACHE:-$HOME/.cache/countersign}/debian/usr/bin
if [[ $store == embedded ]] && ((pods != 1)); then
  echo "The embedded store is for one process: set OBSERVE_STORE=cql for several." >&2
  exit 64
fi

folder=$(mktemp -d)
pids=()
stop() {
  trap - EXIT INT TERM HUP
  local pid
  # The load first, so that nobody misses the service.
  for pid in $(printf '%s\n' "${pids[@]}" | tac); do kill -TERM "$pid" 2>/dev/null || true; done
  exec 8>&- 9>&-
  for pid in "${pids[@]}"; do
    for _ in {1..100}; do
      kill -0 "$pid" 2>/dev/null || break
      read -r -t 0.1 <> <(:) || true
    done
    kill -KILL "$pid" 2>/dev/null || true
  done
  wait 2>/dev/null || true
  rm -rf "$folder"
}
trap stop EXIT
trap 'exit 0' INT TERM HUP

# begin <name> <command>…: a process of ours, with a log. Its number is in $begun.
begin() {
  "${@:2}" >"$folder/$1.log" 2>&1 </dev/null 8>&- 9>&- &
  begun=$!
  pids+=("$begun")
}
# until_it <what> <pid> <command>…: waits until the command succeeds, for as long as the process is there.
until_it() {
  until "${@:3}" >/dev/null 2>&1; do
    kill -0 "$2" 2>/dev/null || { echo "$1 ended:" >&2 && tail -n 20 "$folder"/*.log >&2 && exit 1; }
    read -r -t 0.1 <> <(:) || true
  done
}
free_port() {
  local port
  while port=$((20000 + RANDOM % 10000)); (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
  echo "$port"
}
note() { [[ -z ${OBSERVE_STATE:-} ]] || printf '%s=%q\n' "$1" "$2" >>"$folder/state"; }

# === Stores ===

export COUNTERSIGN_LISTEN=127.0.0.1:0 COUNTERSIGN_ADMIN_LISTEN=127.0.0.1:0 COUNTERSIGN_LOG_FORMAT=json
export COUNTERSIGN_DRAIN_DELAY=0s COUNTERSIGN_SUPER_ADMINISTRATORS=$folder/super-administrators.asc
if [[ $store == cql ]]; then
  mkfifo "$folder/cql-held" "$folder/valkey-held"
  scripts/cql.sh hold "$folder/cql" <"$folder/cql-held" >"$folder/cql.log" 2>&1 &
  cql=$!
  exec 8>"$folder/cql-held"
  scripts/valkey.sh single <"$folder/valkey-held" >"$folder/valkey.log" 2>&1 8>&- &
  valkey=$!
  exec 9>"$folder/valkey-held"
  pids+=("$cql" "$valkey")
  echo "Starting a CQL server and Valkey …"
  until_it "Valkey" "$valkey" grep -q '^ready' "$folder/valkey.log"
  until_it "The CQL server" "$cql" test -s "$folder/cql/address"
  read -r valkey_port valkey_pid <"$folder/valkey.log"
  echo cassandra >"$folder/cql-password"
  read -r address <"$folder/cql/address"
  export COUNTERSIGN_STORE=scylla://$address/countersign COUNTERSIGN_SCYLLA_USER=cassandra
  export COUNTERSIGN_SCYLLA_PASSWORD_FILE=$folder/cql-password COUNTERSIGN_SCYLLA_CA=$folder/cql/tls/ca.pem
  export COUNTERSIGN_SCYLLA_DATACENTER=datacenter1 COUNTERSIGN_SCYLLA_REPLICATION=1
  export COUNTERSIGN_EPHEMERAL=valkey://127.0.0.1:$valkey_port
  note valkey "$valkey_pid"
  note cql "$folder/cql"
else
  export COUNTERSIGN_STORE=embedded:$folder/store
fi

# === The service ===

"$binaries/countersign-loadtest" setup --super-administrators "$COUNTERSIGN_SUPER_ADMINISTRATORS" >"$folder/setup.log" 2>&1 ||
  { cat "$folder/setup.log" >&2 && exit 1; }
if [[ $store == cql ]]; then
  "$binaries/countersignd" schema >"$folder/schema.log" 2>&1 || { cat "$folder/schema.log" >&2 && exit 1; }
fi
urls=() admins=()
listening() { jq -r 'select(.message == "listening") | "\(.public) \(.admin)"' "$folder/pod-$1.log" 2>/dev/null | head -n 1; }
is_listening() { [[ -n $(listening "$1") ]]; }
for ((pod = 0; pod < pods; pod++)); do
  begin "pod-$pod" "$binaries/countersignd" serve
  until_it "The service" "$begun" is_listening "$pod"
  read -r public admin < <(listening "$pod")
  until_it "The service" "$begun" curl -sf "http://$admin/readyz"
  urls+=("http://$public") admins+=("$admin")
  note "pod_$pod" "$begun"
done

# === Those who use it ===

begin load "$binaries/countersign-loadtest" run "${urls[@]/#/--url=}" --rate "${OBSERVE_RATE:-20}" --users 30 \
  --duration 1000h --folder "$folder/load" --admin-listen 127.0.0.1:0
load=$begun
admin_of() { sed -n 's/.*admin[^0-9]*\(127\.0\.0\.1:[0-9]*\).*/\1/p' "$folder/$1.log" | head -n 1; }
load_listens() { [[ -n $(admin_of load) ]]; }
until_it "The load tester" "$begun" load_listens
begin canary "$binaries/countersign-loadtest" canary "${urls[@]/#/--url=}" --create --folder "$folder/canary" \
  --admin-listen 127.0.0.1:0 --every "${OBSERVE_CANARY:-2s}"
canary_sings() { [[ -n $(admin_of canary) ]]; }
until_it "The canary" "$begun" canary_sings
canary=$(admin_of canary)

# === Those who look ===

node_port=$(free_port)
begin node-exporter prometheus-node-exporter --web.listen-address="127.0.0.1:$node_port" --collector.disable-defaults \
  --collector.cpu --collector.loadavg --collector.meminfo --collector.uname
until_it "Node exporter" "$begun" curl -sf "http://127.0.0.1:$node_port/metrics"

cat >"$folder/prometheus.yaml" <<CONFIGURATION
global: {scrape_interval: $scrape, evaluation_interval: $scrape}
rule_files: ['$PWD/prometheus/rules/*.yaml']
scrape_configs:
  - job_name: countersign
    static_configs: [{targets: [$(IFS=,; echo "${admins[*]}")], labels: {namespace: local}}]
  - job_name: load-tester
    static_configs: [{targets: ['$(admin_of load)']}]
  - job_name: canary
    static_configs: [{targets: ['$canary']}]
  - job_name: node
    static_configs: [{targets: ['127.0.0.1:$node_port']}]
CONFIGURATION
prometheus_port=$(free_port)
begin prometheus prometheus --config.file="$folder/prometheus.yaml" --storage.tsdb.path="$folder/prometheus" \
  --web.listen-address="127.0.0.1:$prometheus_port" --web.enable-lifecycle
until_it "Prometheus" "$begun" curl -sf "http://127.0.0.1:$prometheus_port/-/ready"

note prometheus "http://127.0.0.1:$prometheus_port"
note urls "${urls[*]}"
note folder "$folder"
[[ -z ${OBSERVE_STATE:-} ]] || mv "$folder/state" "$OBSERVE_STATE"
cat <<TEXT

  Prometheus      http://127.0.0.1:$prometheus_port
                  the address of a Grafana data source; then import grafana/dashboards/*.json
  Countersign     ${urls[*]}
  its metrics     $(printf 'http://%s/metrics ' "${admins[@]}")
  the load tester http://$(admin_of load)/metrics
  the canary      http://$canary/metrics
  node exporter   http://127.0.0.1:$node_port/metrics
  logs, data      $folder

Ctrl-C stops all of it, and removes the data.
TEXT
if [[ $held == --held ]]; then cat >/dev/null; else wait "$load"; fi
