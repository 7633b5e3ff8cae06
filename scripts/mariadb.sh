#!/usr/bin/env bash
# A MariaDB server for tests and for trying things: a process of this machine, in a folder of its own, that listens on the
# loopback only. It writes each commit to disk before it confirms it.
#
#   mariadb.sh hold DIR            start a server in the new folder DIR, and stop it and delete DIR when standard input
#                                  closes: so that it never outlives the test that started it, however that ends
#   mariadb.sh start DIR           start a server in DIR, which is made where it is missing, and wait until it answers
#   mariadb.sh stop DIR            stop it in order (SIGTERM)
#   mariadb.sh signal DIR SIGNAL   send it a signal: KILL, STOP, CONT
#   mariadb.sh sql DIR STATEMENT   do a statement as the server's administrator, over its socket, and print the answer
#   mariadb.sh status DIR          its address, process id, and whether it answers
#   mariadb.sh wipe DIR            stop it and delete DIR
#
# Once it answers, DIR/address has host and port, DIR/password the password of the user countersign, who may do all with
# databases that begin with countersign or test, and DIR/tls/ca.pem the authority of its certificate. MARIADB_PORT
# chooses the port (a free one), MARIADB_OPTIONS are more options of mariadbd, and MARIADB_POOL is the size of its
# memory for pages (64M).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=server-process.sh
. "$(dirname "${BASH_SOURCE[0]}")/server-process.sh"
# Commands of administrators are not on everybody's path.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

usage() {
  sed -n '5,18s/^# \{0,1\}//p' "$0" >&2
  exit 64
}

command=${1:-}
dir=${2:-}
[[ -n $dir ]] || usage
for needed in mariadbd mariadb-install-db mariadb; do
  command -v "$needed" >/dev/null || { echo "$needed is missing: scripts/install-packages.sh --test installs it." >&2 && exit 1; }
done

# running: whether the process is there and is ours.
running() {
  local pid
  pid=$(cat "$dir/pid" 2>/dev/null) && [[ -n $pid ]] || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "--datadir=$dir/data" || return 1
}

sql() { mariadb --no-defaults --user=root --socket="$socket" --batch --skip-column-names --execute "$1"; }
answers() { sql 'SELECT 1' >/dev/null 2>&1; }

certificates() {
  mkdir -p "$dir/tls"
  (
    cd "$dir/tls"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj '/CN=test CA' \
      -keyout ca.key -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=mariadb' -keyout server.key -out server.csr
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -out server.pem \
      -extfile <(printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\n')
  ) >"$dir/tls.log" 2>&1
}

create() {
  # A server that starts deletes the temporary tables it finds: those of others too, in a folder for temporary files that they share.
  mkdir -p "$dir/tmp"
  [[ ! -e $dir/data/mysql ]] || return 0
  if ! mariadb-install-db --no-defaults --datadir="$dir/data" --tmpdir="$dir/tmp" --user="$(id -un)" --skip-test-db \
    --skip-name-resolve --auth-root-authentication-method=normal >"$dir/install.log" 2>&1; then
    # What follows are hints for a server that is somebody's.
    sed '/^Installation of system tables failed/q' "$dir/install.log" >&2
    return 1
  fi
  certificates
  # Nobody else can read it.
  (umask 077 && head -c 18 /dev/urandom | base64 >"$dir/password")
}

# launch PORT: false if it ends before it answers, as where the port is taken.
launch() {
  local options=()
  read -r -a options <<<"${MARIADB_OPTIONS:-}"
  (exec setsid mariadbd --no-defaults --user="$(id -un)" --datadir="$dir/data" --tmpdir="$dir/tmp" --socket="$socket" \
    --pid-file="$dir/mariadbd.pid" --bind-address=127.0.0.1 --port="$1" --skip-name-resolve --skip-log-bin \
    --innodb-flush-log-at-trx-commit=1 --innodb-buffer-pool-size="${MARIADB_POOL:-64M}" --innodb-log-file-size=64M \
    --performance-schema=OFF --max-connections=400 --ssl-ca="$dir/tls/ca.pem" --ssl-cert="$dir/tls/server.pem" \
    --ssl-key="$dir/tls/server.key" "${options[@]}" </dev/null >>"$dir/log" 2>&1) &
  echo $! >"$dir/pid"
  executed $!
  disown
  local end=$((SECONDS + 120))
  until answers; do
    running && ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

start() {
  mkdir -p "$dir"
  # Not the folder of a symbolic link: it is looked for in command lines.
  dir=$(cd "$dir" && pwd -P)
  # The path of a socket has at most 107 bytes.
  socket=$dir/socket
  ((${#socket} <= 107)) || { echo "The path $socket is too long for a socket." >&2 && exit 1; }
  ! running || return 0
  create
  local port attempt
  port=${MARIADB_PORT:-$(sed -n 's/.*://p' "$dir/address" 2>/dev/null || true)}
  for attempt in {1..20}; do
    ((attempt == 1)) && [[ -n $port ]] || port=$((RANDOM % 12000 + 20000))
    if launch "$port"; then
      sql "CREATE USER IF NOT EXISTS countersign@'127.0.0.1' IDENTIFIED BY '$(cat "$dir/password")';
        GRANT ALL ON \`countersign%\`.* TO countersign@'127.0.0.1'; GRANT ALL ON \`test%\`.* TO countersign@'127.0.0.1'"
      echo "127.0.0.1:$port" >"$dir/address.new"
      mv "$dir/address.new" "$dir/address"
      return 0
    fi
    # One that was there already has its port for good: whoever uses it knows it by that.
    [[ ! -e $dir/address && -z ${MARIADB_PORT:-} ]] || break
    grep -qs 'Address already in use' "$dir/log" || break
  done
  echo "MariaDB in $dir does not answer:" >&2
  tail -n 15 "$dir/log" >&2 || true
  exit 1
}

stop() {
  local pid
  running || return 0
  pid=$(cat "$dir/pid")
  # One that is stopped by SIGSTOP would not notice.
  kill -CONT "$pid" 2>/dev/null || true
  kill "-${1:-TERM}" "$pid" 2>/dev/null || true
  for _ in $(seq 600); do
    running || return 0
    sleep 0.05
  done
  kill -KILL "$pid" 2>/dev/null || true
}

finish() {
  stop KILL
  rm -rf "$dir"
}

case $command in
  start)
    start
    exit
    ;;
  hold)
    mkdir "$dir"
    dir=$(cd "$dir" && pwd -P)
    ending_with finish
    start
    until_released
    exit
    ;;
esac
dir=$(cd "$dir" && pwd -P)
socket=$dir/socket
case $command in
  stop) stop ;;
  signal)
    kill "-${3:?}" "$(cat "$dir/pid")"
    # The dead leave at their own pace.
    if [[ $3 == KILL ]]; then while running; do sleep 0.02; done; fi
    ;;
  sql) sql "${3:?}" ;;
  status)
    state=down
    ! running || state=starting
    ! answers || state=up
    echo "$(cat "$dir/address") $(cat "$dir/pid") $state"
    ;;
  wipe)
    stop
    rm -rf "$dir"
    ;;
  *) usage ;;
esac
