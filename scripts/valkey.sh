#!/usr/bin/env bash
# Valkey on this machine, for tests and for trying things: in a folder of its own, on free ports of the loopback.
#
#   valkey.sh single [persisting] [option value]…     one server
#   valkey.sh cluster [persisting] [option value]…    three primaries and three replicas
#
# Nothing is on disk, unless `persisting` is said: then each server syncs its append-only file before it answers, and one that is
# started again has what it had.
# Options are valkey-server's, such as: --maxmemory 100mb. An @ stands for a second free port: 10000 above the first. With
# VALKEY_ADDRESS they listen on that, for everybody who reaches it, instead of 127.0.0.1.
# Writes a line `<port> <pid>` for each server, then `ready`, and runs until its standard input ends; then everything is
# stopped and removed. So whatever starts it and ends, in whatever way, leaves nothing behind. A line
# `start <port> [option value]…` on its standard input starts a server again that was killed, and is answered with its line.
set -euo pipefail

mode=${1:-}
[[ $mode == single || $mode == cluster ]] || { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2 && exit 64; }
shift
persistence=(--appendonly no)
if [[ ${1:-} == persisting ]]; then
  persistence=(--appendonly yes --appendfsync always)
  shift
fi
server=$(command -v valkey-server || command -v valkey-check-rdb) ||
  { echo "valkey-server is missing: scripts/install-packages.sh installs it." >&2 && exit 1; }

address=${VALKEY_ADDRESS:-127.0.0.1}
# Without a password, a server refuses whoever is not of its own machine.
protected=$([[ -z ${VALKEY_ADDRESS:-} ]] && echo yes || echo no)
folder=$(mktemp -d)
pids=() ports=()
stop() {
  local pid
  for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do
    while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
  done
  rm -rf "$folder"
}
trap stop EXIT
trap 'exit 1' INT TERM HUP

# launch <port> [option value]…: starts a server in the port's folder, and sets pid. False if it ends at once.
launch() {
  local port=$1
  shift
  mkdir -p "$folder/$port"
  (exec -a valkey-server "$server" --port "$port" --bind "$address" --protected-mode "$protected" --dir "$folder/$port" --save '' "${persistence[@]}" \
    --maxmemory-policy noeviction --logfile log "${@/#@/$((port + 10000))}" </dev/null >/dev/null 2>&1) &
  pid=$!
  # Its end is nothing to write about.
  disown "$pid"
  while kill -0 "$pid" 2>/dev/null; do
    [[ $(valkey-cli -h "$address" -p "$port" INFO server 2>/dev/null) != *"process_id:$pid"* ]] || return 0
    sleep 0.02
  done
  return 1
}

# Starts a server on a port that is free, and the port 10000 above it too.
start() {
  local port pid attempt
  for attempt in {1..50}; do
    port=$((20000 + RANDOM % 10000))
    # One of its own has that port already. To clear up after a second one would take the first one's folder away.
    [[ ! -e $folder/$port ]] || continue
    if launch "$port" "$@"; then
      pids+=("$pid") ports+=("$port")
      return
    fi
    rm -rf "${folder:?}/$port"
  done
  echo "no server could be started in $attempt attempts" >&2
  exit 1
}

options=("$@")
if [[ $mode == single ]]; then
  start "${options[@]}"
else
  options=(--cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout 2000 "${options[@]}")
  for _ in {1..6}; do start "${options[@]}"; done
  # A server that has ended meanwhile would be waited for without end.
  timeout 120 valkey-cli --cluster create "${ports[@]/#/$address:}" --cluster-replicas 1 --cluster-yes >"$folder/create.log" 2>&1 ||
    { cat "$folder/create.log" >&2 && exit 1; }
  for port in "${ports[@]}"; do
    until [[ $(valkey-cli -h "$address" -p "$port" CLUSTER INFO) == *cluster_state:ok* ]]; do sleep 0.02; done
    until [[ $(valkey-cli -h "$address" -p "$port" INFO replication) =~ role:master|master_link_status:up ]]; do sleep 0.02; done
  done
fi
for index in "${!pids[@]}"; do echo "${ports[index]} ${pids[index]}"; done
echo ready
while read -r command port more; do
  [[ $command == start ]] || continue
  # shellcheck disable=SC2086 # options are words
  launch "$port" "${options[@]}" $more || { echo "server $port could not be started again" >&2 && exit 1; }
  for index in "${!ports[@]}"; do [[ ${ports[index]} != "$port" ]] || pids[index]=$pid; done
  echo "$port $pid"
done
