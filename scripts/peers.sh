#!/usr/bin/env bash
# The servers that Countersign is measured beside, and Countersign itself, each with its stores, for
# `countersign-loadtest peers` (docs/peers.md). On free ports of the loopback, in a folder of their own.
#
#   peers.sh install [SIDE]…   install what sides need: Debian packages, and from PyPI into the cache
#   peers.sh hold SIDE         start a side, write how it is reached, and run until standard input closes; then stop it and
#                              remove its folder: so nothing is left behind, however the caller ends
#   peers.sh with SIDE COMMAND…  start the stores of a side of Countersign's, and run a command whose environment has the service's
#                              settings for them; for what asks stores itself
#   peers.sh versions          a line for each server and library: its name and version
#   peers.sh lint              check the Python code
#   peers.sh lock              write peers/*/requirements.txt anew from requirements.in, with hashes
#
# A SIDE is countersign-embedded, countersign-mariadb, countersign-cql, countersign-valkey, countersign-dynamodb, article,
# article-without-indices or synapse. `hold`
# writes lines `url URL`, `secret SECRET` (article: for adding users), `service PID` and `store PID` (roots of process
# trees), and then `ready`. Countersign needs COUNTERSIGND, its program, and COUNTERSIGN_SUPER_ADMINISTRATORS.
# Every store syncs to disk before it answers, but for DynamoDB Local, which is an emulator and keeps all in memory.
# PEERS_KEEP=yes keeps the folder, with its logs, and says where it is.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peers=$here/../peers
cache=${COUNTERSIGN_CACHE:-$HOME/.cache/countersign}/peers
sides=(countersign-embedded countersign-mariadb countersign-cql countersign-valkey countersign-dynamodb
  article article-without-indices synapse)

# Debian keeps them off everybody's path.
PATH=$PATH:/usr/sbin:/sbin
for folder in /usr/lib/postgresql/*/bin; do PATH=$PATH:$folder; done

usage() { sed -n '2,21s/^# \{0,1\}//p' "$0" >&2 && exit 64; }
fail() { echo "$*" >&2 && exit 1; }
pause() { read -r -t 0.05 <> <(:) || true; }

# ---- installing ----

# environment NAME: a virtual environment with what peers/NAME/requirements.txt names, made anew when that changes.
environment() {
  local folder=$cache/$1 wanted=$peers/$1/requirements.txt
  mkdir -p "$cache"
  (
    # Of two at once, the second finds that all is there.
    flock 9
    ! cmp -s "$wanted" "$folder/installed.txt" || exit 0
    echo "Installing what peers/$1 needs into $folder, once …" >&2
    rm -rf "$folder"
    { python3 -m venv "$folder" &&
      "$folder/bin/pip" install --disable-pip-version-check --quiet --require-hashes --requirement "$wanted"; } \
      </dev/null >"$cache/$1.log" 2>&1 || { tail -n 20 "$cache/$1.log" >&2 && fail "Could not install peers/$1."; }
    cp "$wanted" "$folder/installed.txt"
  ) 9>"$cache/$1.lock"
}

install() {
  local side
  for side in "$@"; do
    case $side in
      countersign-embedded) ;;
      countersign-cql) "$here/install-packages.sh" --test && "$here/cql.sh" install ;;
      countersign-mariadb | countersign-valkey) "$here/install-packages.sh" --test ;;
      countersign-dynamodb) "$here/install-packages.sh" --test && "$here/dynamodb.sh" install ;;
      article*) "$here/install-packages.sh" --peers && environment article ;;
      synapse) "$here/install-packages.sh" --peers && environment synapse ;;
      *) usage ;;
    esac
  done
}

lint() {
  environment lint
  "$cache/lint/bin/ruff" check --quiet "$peers"
  "$cache/lint/bin/ruff" format --quiet --check "$peers" || fail "Python code is not formatted: ruff format peers"
}

lock() {
  local name
  mkdir -p "$cache"
  python3 -m venv "$cache/lock"
  "$cache/lock/bin/pip" install --quiet --disable-pip-version-check pip-tools
  for name in article lint synapse; do
    (cd "$peers/$name" && "$cache/lock/bin/pip-compile" --quiet --generate-hashes --allow-unsafe --strip-extras \
      --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --output-file requirements.txt requirements.in)
  done
}

versions() {
  local python
  python3 --version
  mariadbd --version 2>/dev/null | sed -n 's/.*Ver \([^ ]*\).*/MariaDB \1/p' || true
  postgres --version 2>/dev/null || true
  "$(command -v valkey-server || command -v valkey-check-rdb)" --version 2>/dev/null | sed -n 's/.*v=\([^ ]*\).*/Valkey \1/p' || true
  [[ ! -e $here/cql/pom.xml ]] || sed -n 's|.*<version>\([0-9.]*\.[0-9]*\)</version>.*|Apache Cassandra \1|p' "$here/cql/pom.xml" | tail -n 1
  echo "DynamoDB Local $("$here/dynamodb.sh" version)"
  for python in "$cache"/{article,synapse}/bin/pip; do
    [[ ! -x $python ]] || "$python" list --disable-pip-version-check 2>/dev/null |
      awk 'tolower($1) ~ /^(flask|gunicorn|pymysql|pysequoia|valkey|matrix-synapse|psycopg2|twisted)$/ {print $1, $2}'
  done
}

# ---- holding ----

pids=() valkey='' cql='' mariadb='' valkey_store='' dynamodb='' dir=''

# Ends what was started, the last one first, by SIGINT, which is the fast end of PostgreSQL and gunicorn. Servers of other
# scripts end with their standard input.
finish() {
  local index pid
  exec 5>&- 6>&- 7>&- 8>&- 9>&-
  for ((index = ${#pids[@]} - 1; index >= 0; index--)); do
    pid=${pids[index]}
    kill -INT "$pid" 2>/dev/null || true
    for _ in {1..100}; do
      kill -0 "$pid" 2>/dev/null || break
      pause
    done
    # One that does not end in time must not leave its workers behind.
    ! kill -0 "$pid" 2>/dev/null || pkill -KILL -P "$pid" || true
    kill -KILL "$pid" 2>/dev/null || true
  done
  for pid in $valkey $cql $mariadb $valkey_store $dynamodb; do wait "$pid" 2>/dev/null || true; done
  if [[ -n ${PEERS_KEEP:-} ]]; then echo "$dir" >&2; else rm -rf "$dir"; fi
}

# await WHAT PID LOG COMMAND…: until the command succeeds.
await() {
  local what=$1 pid=$2 log=$3 end=$((SECONDS + 120))
  shift 3
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "$pid" 2>/dev/null || ((SECONDS > end)); then
      tail -n 20 "$log" >&2
      fail "$what did not start."
    fi
    pause
  done
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Sets valkey_port.
start_valkey() {
  mkfifo "$dir/valkey.held"
  "$here/valkey.sh" single <"$dir/valkey.held" >"$dir/valkey.txt" &
  valkey=$!
  exec 7>"$dir/valkey.held"
  await Valkey "$valkey" "$dir/valkey.txt" grep -q ready "$dir/valkey.txt"
  local pid
  read -r valkey_port pid <"$dir/valkey.txt"
  echo "store $pid"
}

# Starts six servers that are a cluster and persist. Sets valkey_store_url.
start_valkey_store() {
  mkfifo "$dir/valkey-store.held"
  "$here/valkey.sh" cluster persisting <"$dir/valkey-store.held" >"$dir/valkey-store.txt" 7>&- &
  valkey_store=$!
  exec 5>"$dir/valkey-store.held"
  await "The Valkey cluster" "$valkey_store" "$dir/valkey-store.txt" grep -q ready "$dir/valkey-store.txt"
  valkey_store_url=$(awk 'NF == 2 {printf("%s127.0.0.1:%s", (NR > 1 ? "," : "valkey://"), $1)}' "$dir/valkey-store.txt")
  awk 'NF == 2 {print "store", $2}' "$dir/valkey-store.txt"
}

start_mariadb() {
  mkfifo "$dir/mariadb.held"
  MARIADB_POOL=256M MARIADB_OPTIONS=--character-set-server=utf8mb4 \
    "$here/mariadb.sh" hold "$dir/mariadb" <"$dir/mariadb.held" >"$dir/mariadb.log" 2>&1 7>&- 8>&- &
  mariadb=$!
  exec 6>"$dir/mariadb.held"
  await MariaDB "$mariadb" "$dir/mariadb.log" test -s "$dir/mariadb/address"
  echo "store $(cat "$dir/mariadb/pid")"
}

# In $dir/postgres only, without a port. It refuses to run as root.
start_postgres() {
  local as=()
  mkdir "$dir/postgres"
  if ((EUID == 0)); then
    as=(setpriv --reuid postgres --regid postgres --clear-groups --)
    chown postgres: "$dir/postgres"
  fi
  "${as[@]}" "$(command -v initdb)" --pgdata="$dir/postgres/data" --username=postgres --auth=trust --encoding=UTF8 --locale=C \
    </dev/null >"$dir/postgres.log" 2>&1 || { tail -n 20 "$dir/postgres.log" >&2 && fail "PostgreSQL's tables could not be made."; }
  (cd "$dir/postgres" && exec "${as[@]}" "$(command -v postgres)" -D "$dir/postgres/data" -c listen_addresses='' \
    -c unix_socket_directories="$dir/postgres" -c shared_buffers=256MB -c fsync=on -c synchronous_commit=on \
    </dev/null >>"$dir/postgres.log" 2>&1 6>&- 7>&- 8>&-) &
  pids+=($!)
  await PostgreSQL "${pids[-1]}" "$dir/postgres.log" pg_isready --host="$dir/postgres" --username=postgres
  echo "store ${pids[-1]}"
  createdb --host="$dir/postgres" --username=postgres synapse
}

hold_article() {
  local bin=$cache/article/bin files=("$peers/article/tables.sql")
  [[ $1 == article-without-indices ]] || files+=("$peers/article/indices.sql")
  start_valkey
  start_mariadb
  export ARTICLE_DATABASE=$dir/mariadb/socket ARTICLE_VALKEY_PORT=$valkey_port ARTICLE_SETUP_SECRET
  ARTICLE_SETUP_SECRET=$(openssl rand -hex 16)
  "$bin/python" "$peers/article/server.py" "${files[@]}"
  "$bin/gunicorn" --chdir "$peers/article" --workers 4 --worker-class gthread --threads 4 --keep-alive 60 \
    --bind 127.0.0.1:0 --worker-tmp-dir "$dir" server:app </dev/null >"$dir/gunicorn.log" 2>&1 6>&- 7>&- 8>&- &
  pids+=($!)
  await gunicorn "${pids[-1]}" "$dir/gunicorn.log" sh -c "[ \$(grep -c 'Booting worker' '$dir/gunicorn.log') = 4 ]"
  echo "url $(sed -n 's|.*Listening at: \(http://[^ ]*\).*|\1|p' "$dir/gunicorn.log")"
  echo "secret $ARTICLE_SETUP_SECRET"
  echo "service ${pids[-1]}"
}

hold_synapse() {
  local port
  start_postgres
  port=$(free_port)
  sed -e "s|@FOLDER@|$dir|g" -e "s|@PORT@|$port|g" -e "s|@SECRET@|$(openssl rand -hex 16)|g" \
    "$peers/synapse/homeserver.yaml" >"$dir/homeserver.yaml"
  echo "ed25519 a_peer $(openssl rand -base64 32 | tr -d =)" >"$dir/signing.key"
  cat >"$dir/log.yaml" <<YAML
version: 1
handlers: {file: {class: logging.FileHandler, filename: "$dir/synapse.log"}}
root: {level: WARNING, handlers: [file]}
YAML
  (cd "$dir" && exec "$cache/synapse/bin/python" -m synapse.app.homeserver --config-path homeserver.yaml \
    </dev/null >"$dir/synapse.out" 2>&1 6>&- 7>&- 8>&-) &
  pids+=($!)
  await Synapse "${pids[-1]}" "$dir/synapse.out" curl --silent --fail "http://127.0.0.1:$port/_matrix/client/versions"
  echo "url http://127.0.0.1:$port"
  echo "service ${pids[-1]}"
}

# Starts the stores of a side of Countersign's, makes what they need, and puts the settings for them into the environment.
start_stores() {
  export COUNTERSIGN_STORE=embedded:$dir/store COUNTERSIGN_EPHEMERAL=local
  case $1 in
    countersign-cql | countersign-mariadb | countersign-dynamodb | countersign-valkey)
      start_valkey
      COUNTERSIGN_EPHEMERAL=valkey://127.0.0.1:$valkey_port
      ;;
  esac
  case $1 in
    countersign-cql)
      mkfifo "$dir/cql.held"
      "$here/cql.sh" hold "$dir/cql" <"$dir/cql.held" >"$dir/cql.txt" 2>&1 7>&- &
      cql=$!
      exec 8>"$dir/cql.held"
      await Cassandra "$cql" "$dir/cql.txt" test -e "$dir/cql/address"
      echo "store $(cat "$dir/cql/node1/pid")"
      echo cassandra >"$dir/cql-password"
      COUNTERSIGN_STORE=scylla://$(cat "$dir/cql/address")/peers
      export COUNTERSIGN_SCYLLA_USER=cassandra COUNTERSIGN_SCYLLA_PASSWORD_FILE=$dir/cql-password \
        COUNTERSIGN_SCYLLA_CA=$dir/cql/tls/ca.pem COUNTERSIGN_SCYLLA_DATACENTER=datacenter1 \
        COUNTERSIGN_SCYLLA_REPLICATION=1
      ;;
    countersign-mariadb)
      start_mariadb
      COUNTERSIGN_STORE=mariadb://countersign@$(cat "$dir/mariadb/address")/countersign_peers
      export COUNTERSIGN_MARIADB_PASSWORD_FILE=$dir/mariadb/password
      ;;
    countersign-dynamodb)
      # An emulator, and in memory: what it measures is the service.
      mkfifo "$dir/dynamodb.held"
      DYNAMODB_HEAP=1G "$here/dynamodb.sh" hold "$dir/dynamodb" <"$dir/dynamodb.held" >"$dir/dynamodb.log" 2>&1 7>&- &
      dynamodb=$!
      exec 9>"$dir/dynamodb.held"
      await "DynamoDB Local" "$dynamodb" "$dir/dynamodb.log" test -s "$dir/dynamodb/address"
      echo "store $(cat "$dir/dynamodb/pid")"
      COUNTERSIGN_STORE=dynamodb://eu-central-1/peers
      # It accepts any credentials.
      COUNTERSIGN_DYNAMODB_ENDPOINT=http://$(cat "$dir/dynamodb/address")
      export COUNTERSIGN_DYNAMODB_ENDPOINT AWS_ACCESS_KEY_ID=peers AWS_SECRET_ACCESS_KEY=peers
      ;;
    countersign-valkey)
      start_valkey_store
      COUNTERSIGN_STORE=$valkey_store_url
      ;;
  esac
  [[ $COUNTERSIGN_STORE != embedded:* ]] || return 0
  "$COUNTERSIGND" schema </dev/null >"$dir/schema.log" 2>&1 ||
    { tail -n 20 "$dir/schema.log" >&2 && fail "The tables could not be made."; }
}

hold_countersign() {
  local listening=''
  start_stores "$1"
  COUNTERSIGN_LISTEN=127.0.0.1:0 COUNTERSIGN_ADMIN_LISTEN=127.0.0.1:0 COUNTERSIGN_LOG_FORMAT=json \
    COUNTERSIGN_RATE_PER_CLIENT=0 COUNTERSIGN_RATE_PER_ADDRESS=0 COUNTERSIGN_DRAIN_DELAY=0s "$COUNTERSIGND" serve </dev/null >"$dir/service.log" 2>&1 5>&- 6>&- 7>&- 8>&- 9>&- &
  pids+=($!)
  await Countersign "${pids[-1]}" "$dir/service.log" grep -q '"message":"listening"' "$dir/service.log"
  listening=$(jq --raw-input --raw-output 'fromjson? | select(.message == "listening") | "\(.public) \(.admin)"' "$dir/service.log")
  await Countersign "${pids[-1]}" "$dir/service.log" curl --silent --fail "http://${listening#* }/readyz"
  echo "url http://${listening% *}"
  echo "service ${pids[-1]}"
}

# begin SIDE: makes the folder that goes with us.
begin() {
  [[ " ${sides[*]} " == *" ${1:-} "* ]] || usage
  install "$1"
  dir=$(mktemp -d)
  # PostgreSQL, which is another user, goes through it.
  chmod 711 "$dir"
  trap finish EXIT
  trap 'exit 1' INT TERM HUP
}

with() {
  [[ ${1:-} == countersign-* ]] || usage
  (($# > 1)) || usage
  begin "$1"
  start_stores "$1" >/dev/null
  shift
  "$@" 5>&- 6>&- 7>&- 8>&- 9>&-
}

hold() {
  begin "${1:-}"
  case $1 in
    article*) hold_article "$1" ;;
    synapse) hold_synapse ;;
    countersign*) hold_countersign "$1" ;;
  esac
  echo ready
  # Until whoever holds us is gone. Waiting, and not reading itself, can be interrupted by a signal.
  exec 3<&0
  cat <&3 >/dev/null &
  wait $! || true
}

command=${1:-}
[[ -n $command ]] || usage
shift
case $command in
  install) if (($# > 0)); then install "$@"; else install "${sides[@]}"; fi ;;
  hold) hold "$@" ;;
  with) with "$@" ;;
  versions) versions ;;
  lint) lint ;;
  lock) lock ;;
  *) usage ;;
esac
