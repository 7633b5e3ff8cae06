#!/usr/bin/env bash
# CQL servers for tests and benchmarks: Apache Cassandra, as processes of this machine that listen on loopback only.
# It is what tests can start; production runs ScyllaDB, which speaks the same language (docs/scylla.md).
#
#   cql.sh install                 fetch what is needed, once
#   cql.sh hold DIR [NODES]        start a cluster in the new folder DIR, write its address to DIR/address and its CA to
#                                  DIR/tls/ca.pem, and stop it and delete DIR when standard input closes: so that it
#                                  never outlives the test that started it, however that ends
#   cql.sh start DIR N             start node N of the cluster again, and wait until it answers
#   cql.sh stop DIR N              stop node N in order (SIGTERM)
#   cql.sh signal DIR N SIGNAL     send a signal to node N: KILL, STOP, CONT
#   cql.sh nodetool DIR N ARG...   Cassandra's nodetool
#   cql.sh status DIR              one line a node: its number, address, process id, and whether it answers
#
# Nodes listen on addresses 127.x.y.N that no other cluster has (or on $CQL_NET.N), with port 9042. Clients log in as cassandra with the
# password cassandra; TLS is offered on the same port. CQL_SYNC=periodic loses up to a second of confirmed writes when a
# node is killed, and batch (the default) none. CQL_HEAP is the most that a node's heap takes (512M). With CQL_PROXIED=yes, node N
# tells clients the address <DIR/public>.N, where a proxy of the caller's is to stand before <DIR/net>.N.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=server-process.sh
. "$here/server-process.sh"

cache=${COUNTERSIGN_CACHE:-$HOME/.cache/countersign}/cql
version=$(sed -n 's|.*<version>\([0-9.]*\.[0-9]*\)</version>.*|\1|p' "$here/cql/pom.xml" | tail -n 1)
lib=$cache/cassandra-$version
heap=${CQL_HEAP:-512M}
sync=${CQL_SYNC:-batch}
proxied=${CQL_PROXIED:-}
patience=240

usage() {
  sed -n '5,18s/^# \{0,1\}//p' "$0" >&2
  exit 64
}

install() {
  [[ -e $lib/.complete ]] && return
  if ! command -v java >/dev/null || ! command -v mvn >/dev/null; then
    "$here/install-packages.sh" --test
  fi
  mkdir -p "$cache"
  (
    # Of two at once, the second finds that all is there.
    flock 9
    [[ -e $lib/.complete ]] && exit
    echo "Fetching Apache Cassandra $version, once (70 MB) …" >&2
    rm -rf "$lib" "$lib.new"
    mvn --batch-mode --no-transfer-progress --quiet --file "$here/cql/pom.xml" \
      org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
      -DincludeScope=runtime "-DoutputDirectory=$lib.new" </dev/null >"$cache/install.log" 2>&1 || {
      tail -n 20 "$cache/install.log" >&2
      echo "Could not fetch Apache Cassandra from Maven Central." >&2
      exit 1
    }
    touch "$lib.new/.complete"
    mv "$lib.new" "$lib"
  ) 9>"$cache/lock"
}

address() { echo "$(cat "$dir/net").$1"; }

# running N: whether the process is there and is ours.
running() {
  local pid
  pid=$(cat "$dir/node$1/pid" 2>/dev/null) && [[ -n $pid ]] || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$dir/node$1/" || return 1
}

# answers N: whether CQL answers OPTIONS with SUPPORTED.
answers() {
  local reply
  reply=$(exec 2>/dev/null
    exec 3<>"/dev/tcp/$(address "$1")/9042" || exit 1
    printf '\x04\x00\x00\x00\x05\x00\x00\x00\x00' >&3
    timeout 3 head -c 5 <&3 | od -An -tx1 | tr -d ' ') || return 1
  [[ ${reply:0:2} == 84 && ${reply:8:2} == 06 ]]
}

# taken ADDRESS PORT: whether somebody listens there.
taken() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

certificates() {
  mkdir -p "$dir/tls"
  (
    cd "$dir/tls"
    local names='' n
    for ((n = 1; n <= nodes; n++)); do names+="${names:+,}IP:$(address "$n")"; done
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=test CA' \
      -keyout ca.key -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=cql' -keyout node.key -out node.csr
    openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out node.pem \
      -extfile <(printf 'subjectAltName=%s\n' "$names")
    openssl pkcs8 -topk8 -nocrypt -in node.key -out node.p8
    cat node.p8 node.pem ca.pem >keystore.pem
  ) >"$dir/tls.log" 2>&1
}

configure() {
  local n=$1 node=$dir/node$1 own seeds='' i
  own=$(address "$n")
  mkdir -p "$node/conf" "$node/log"
  for ((i = 1; i <= nodes; i++)); do seeds+="${seeds:+,}$(address "$i"):7000"; done
  # Evenly spaced tokens and no bootstrap, so that all nodes can be started at once.
  # Divided first: the product would overflow.
  # shellcheck disable=SC2017
  local token=$((-9223372036854775807 - 1 + (n - 1) * (9223372036854775807 / nodes * 2)))
  local commitlog="commitlog_sync: $sync"
  [[ $sync != periodic ]] || commitlog=$'commitlog_sync: periodic\ncommitlog_sync_period: 1000ms'
  local told=$own
  [[ ! -e $dir/public ]] || told=$(cat "$dir/public").$n
  cat >"$node/conf/cassandra.yaml" <<YAML
cluster_name: test
num_tokens: 1
initial_token: '$token'
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
dynamic_snitch: false
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{seeds: "$seeds"}]
listen_address: $own
rpc_address: $own
broadcast_rpc_address: $told
storage_port: 7000
ssl_storage_port: 7001
start_native_transport: true
native_transport_port: 9042
client_encryption_options:
  enabled: true
  optional: true
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: $dir/tls/keystore.pem
  truststore: $dir/tls/ca.pem
data_file_directories: ["$node/data"]
commitlog_directory: $node/commitlog
hints_directory: $node/hints
saved_caches_directory: $node/saved_caches
cdc_raw_directory: $node/cdc_raw
storage_compatibility_mode: NONE
$commitlog
commitlog_segment_size: 16MiB
commitlog_total_space: 256MiB
memtable_heap_space: 96MiB
memtable_offheap_space: 96MiB
memtable_allocation_type: heap_buffers
key_cache_size: 8MiB
file_cache_size: 64MiB
networking_cache_size: 32MiB
concurrent_reads: 16
concurrent_writes: 16
concurrent_compactors: 1
compaction_throughput: 32MiB/s
read_request_timeout: 5s
range_request_timeout: 10s
write_request_timeout: 5s
cas_contention_timeout: 2s
request_timeout: 10s
auto_snapshot: false
hinted_handoff_enabled: true
authenticator: PasswordAuthenticator
authorizer: AllowAllAuthorizer
credentials_validity: 3600s
roles_validity: 3600s
permissions_validity: 3600s
YAML
}

# What Cassandra's reflection needs on Java 17.
modules() {
  local package
  for package in java.base/jdk.internal.misc java.management.rmi/com.sun.jmx.remote.internal.rmi \
    java.rmi/sun.rmi.registry java.rmi/sun.rmi.server java.sql/java.sql \
    java.base/java.lang.ref jdk.unsupported/sun.misc jdk.attach/sun.tools.attach; do
    echo "--add-exports=$package=ALL-UNNAMED"
  done
  for package in java.base/java.lang java.base/java.lang.module java.base/java.lang.reflect \
    java.base/java.io java.base/java.util java.base/java.nio java.base/sun.nio.ch \
    java.base/jdk.internal.loader java.base/jdk.internal.ref java.base/jdk.internal.reflect \
    java.base/jdk.internal.math java.base/jdk.internal.module java.base/jdk.internal.util.jar \
    jdk.management/com.sun.management.internal; do
    echo "--add-opens=$package=ALL-UNNAMED"
  done
}

launch() {
  local n=$1 node=$dir/node$1
  running "$n" && return
  local jamm
  jamm=$(echo "$lib"/jamm-*.jar)
  local options=(
    -Xms128M "-Xmx$heap" -Xss256k -XX:MaxDirectMemorySize=256M
    -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+PerfDisableSharedMem -XX:+ExitOnOutOfMemoryError
    "-javaagent:$jamm"
    -Djdk.attach.allowAttachSelf=true
    -Dio.netty.tryReflectionSetAccessible=true
    -Djava.net.preferIPv4Stack=true
    -Djava.awt.headless=true
    "-Dcassandra.config=file://$node/conf/cassandra.yaml"
    "-Dcassandra.storagedir=$node" "-Dcassandra.logdir=$node/log"
    "-Dlogback.configurationFile=file:$here/cql/logback.xml"
    "-Dcassandra.jmx.local.port=$(($(cat "$dir/jmx") + n))"
    -Dcassandra.skip_wait_for_gossip_to_settle=0
    -Dcassandra.ring_delay_ms=20000
    -Dcassandra.superuser_setup_delay_ms=0
    -Dcassandra.auth_bcrypt_gensalt_log2_rounds=4
    -Dcassandra.shutdown_announce_in_ms=200
  )
  local opened
  mapfile -t opened < <(modules)
  (cd "$node" && exec setsid java "${opened[@]}" "${options[@]}" -cp "$lib/*" \
    org.apache.cassandra.service.CassandraDaemon </dev/null >>"$node/log/stdout.log" 2>&1) &
  echo $! >"$node/pid"
  executed $!
  rm -f "$node/ended"
  disown
}

# await N: until the node answers.
await() {
  local end=$((SECONDS + patience))
  until answers "$1"; do
    if ! running "$1" || ((SECONDS > end)); then
      echo "Node $1 of $dir does not answer:" >&2
      tail -n 15 "$dir/node$1/log/stdout.log" "$dir/node$1/log/system.log" >&2 || true
      return 1
    fi
    sleep 0.1
  done
}

stop_node() {
  local pid
  running "$1" || return 0
  pid=$(cat "$dir/node$1/pid")
  touch "$dir/node$1/ended"
  # One that is stopped by SIGSTOP would not notice.
  kill -CONT "$pid" 2>/dev/null || true
  kill "-${2:-TERM}" "$pid" 2>/dev/null || true
  for _ in $(seq 300); do
    running "$1" || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
}

hold() {
  nodes=${1:-1}
  install
  mkdir "$dir"
  # Not the folder of a symbolic link: it is looked for in command lines.
  dir=$(cd "$dir" && pwd -P)
  ending_with finish
  echo "$nodes" >"$dir/nodes"
  # A network of 127/8 and a port for JMX that nobody has.
  local net jmx
  if [[ -n ${CQL_NET:-} ]] && taken "$CQL_NET.1" 9042; then
    echo "There is a server on $CQL_NET.1 already." >&2
    exit 1
  fi
  while :; do
    net=${CQL_NET:-127.$((RANDOM % 200 + 20)).$((RANDOM % 250 + 1))}
    jmx=$((RANDOM % 20000 + 20000))
    ! taken "$net.1" 9042 && ! taken 127.0.0.1 $((jmx + 1)) && break
  done
  echo "$net" >"$dir/net"
  # No other cluster's network ends like this one: they go up to 250.
  [[ -z $proxied ]] || echo "127.$((RANDOM % 200 + 20)).$((RANDOM % 5 + 251))" >"$dir/public"
  echo "$jmx" >"$dir/jmx"
  certificates
  local n
  for ((n = 1; n <= nodes; n++)); do configure "$n"; done
  for ((n = 1; n <= nodes; n++)); do launch "$n"; done
  for ((n = 1; n <= nodes; n++)); do await "$n"; done
  await_login
  local all=''
  for ((n = 1; n <= nodes; n++)); do all+="${all:+,}$(address "$n"):9042"; done
  echo "$all" >"$dir/address.new"
  mv "$dir/address.new" "$dir/address"
  until_released
}

# The first user is made by the server itself, a moment after it answers.
await_login() {
  local end=$((SECONDS + patience))
  until grep -qs "Created default superuser role" "$dir"/node*/log/system.log; do
    ((SECONDS < end)) || { echo "No node of $dir has made the first user." >&2 && return 1; }
    sleep 0.1
  done
}

finish() {
  local n
  for ((n = 1; n <= nodes; n++)); do
    # That a server has gone by itself, say for want of memory, would else be seen as refused connections only.
    if [[ -e $dir/node$n/pid && ! -e $dir/node$n/ended ]] && ! running "$n"; then
      echo "Node $n of $dir had ended by itself:" >&2
      tail -n 15 "$dir/node$n/log/stdout.log" "$dir/node$n/log/system.log" >&2 || true
    fi
    stop_node "$n" KILL
  done
  rm -rf "$dir"
}

command=${1:-}
[[ $command == install ]] && install && exit
dir=${2:-}
[[ -n $dir ]] || usage
if [[ $command == hold ]]; then
  hold "${3:-1}"
  exit
fi
dir=$(cd "$dir" && pwd -P)
nodes=$(cat "$dir/nodes")
case $command in
  start)
    launch "${3:?}"
    await "$3"
    ;;
  stop) stop_node "${3:?}" ;;
  signal)
    [[ ${4:?} != KILL ]] || touch "$dir/node${3:?}/ended"
    kill "-$4" "$(cat "$dir/node${3:?}/pid")"
    ;;
  nodetool)
    node=${3:?}
    shift 3
    mapfile -t opened < <(modules)
    exec java -XX:TieredStopAtLevel=1 -Xmx128M "${opened[@]}" "-Dlogback.configurationFile=file:$here/cql/logback.xml" \
      "-Dcassandra.logdir=$dir/nodetool" "-Dcassandra.storagedir=$dir" "-Duser.home=$dir" -cp "$lib/*" \
      org.apache.cassandra.tools.NodeTool -p $(($(cat "$dir/jmx") + node)) "$@"
    ;;
  status)
    for ((n = 1; n <= nodes; n++)); do
      state=down
      ! running "$n" || state=starting
      ! answers "$n" || state=up
      echo "$n $(address "$n"):9042 $(cat "$dir/node$n/pid") $state"
    done
    ;;
  *) usage ;;
esac
