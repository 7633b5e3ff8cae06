#!/usr/bin/env bash
# DynamoDB Local for tests, for benchmarks and for trying things: AWS's emulator, as a process of this machine that listens
# on the loopback only (scripts/dynamodb/jetty.xml), and needs no root. It keeps its tables in memory and nothing else:
# production runs DynamoDB itself (docs/dynamodb.md, which says what an emulator does not show).
#
#   dynamodb.sh install            fetch what is needed, once
#   dynamodb.sh hold DIR           start it in the new folder DIR, write its address to DIR/address, and stop it and delete
#                                  DIR when standard input closes: so that it never outlives the test that started it
#   dynamodb.sh start DIR          start it in the new folder DIR, and leave it to itself
#   dynamodb.sh stop DIR           stop it and delete DIR
#   dynamodb.sh signal DIR SIGNAL  send it a signal: STOP, CONT
#   dynamodb.sh status DIR         its address, process id, and whether it answers
#   dynamodb.sh version            the version
#
# Its port is a free one, or $DYNAMODB_PORT. Any region and any key will do. DYNAMODB_HEAP is the most memory that it takes
# for objects (512M).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=server-process.sh
. "$here/server-process.sh"

cache=${COUNTERSIGN_CACHE:-$HOME/.cache/countersign}/dynamodb
version=$(sed -n '/<artifactId>DynamoDBLocal</,/<version>/s|.*<version>\(.*\)</version>.*|\1|p' "$here/dynamodb/pom.xml")
lib=$cache/dynamodb-local-$version
patience=120

usage() {
  sed -n '6,18s/^# \{0,1\}//p' "$0" >&2
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
    echo "Fetching DynamoDB Local $version, once (50 MB) …" >&2
    rm -rf "$lib" "$lib.new"
    mvn --batch-mode --no-transfer-progress --quiet --file "$here/dynamodb/pom.xml" \
      org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
      -DincludeScope=runtime "-DoutputDirectory=$lib.new" </dev/null >"$cache/install.log" 2>&1 || {
      tail -n 20 "$cache/install.log" >&2
      echo "Could not fetch DynamoDB Local from Maven Central." >&2
      exit 1
    }
    touch "$lib.new/.complete"
    mv "$lib.new" "$lib"
  ) 9>"$cache/lock"
}

# running: whether the process is there and is ours.
running() {
  local pid
  pid=$(cat "$dir/pid" 2>/dev/null) && [[ -n $pid ]] || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "-Djava.io.tmpdir=$dir/tmp" || return 1
}

# answers PORT: whether it answers a request that it has to refuse, in its own words.
answers() {
  local reply
  reply=$(exec 2>/dev/null
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf 'POST / HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n' >&3
    timeout 3 head -c 4096 <&3) || return 1
  [[ $reply == *com.amazonaws.dynamodb* ]]
}

# launch PORT: false if it ends before it answers, as where the port is taken.
launch() {
  # It writes the library of SQLite into its folder for temporary files, which goes with it.
  (cd "$dir" && exec setsid java -Xms64M "-Xmx${DYNAMODB_HEAP:-512M}" -Xss512k -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -XX:+PerfDisableSharedMem -XX:+ExitOnOutOfMemoryError -Djava.net.preferIPv4Stack=true -Djava.awt.headless=true \
    "-Djava.io.tmpdir=$dir/tmp" "-Dsqlite4java.library.path=$lib" -Dorg.eclipse.jetty.LEVEL=WARN -cp "$lib/*" \
    org.eclipse.jetty.xml.XmlConfiguration "dynamodb.port=$1" "$here/dynamodb/jetty.xml" </dev/null >>"$dir/log" 2>&1) &
  echo $! >"$dir/pid"
  executed $!
  disown
  local end=$((SECONDS + patience))
  until answers "$1"; do
    running && ((SECONDS < end)) || return 1
    sleep 0.1
  done
  ! elsewhere "$1" || { echo "DynamoDB Local listens on more than 127.0.0.1." >&2 && stop && exit 1; }
}

# elsewhere PORT: whether somebody listens on that port of another address than 127.0.0.1.
elsewhere() {
  local port tables=(/proc/net/tcp)
  printf -v port '%04X' "$1"
  [[ ! -e /proc/net/tcp6 ]] || tables+=(/proc/net/tcp6)
  awk -v port="$port" '$4 == "0A" && $2 ~ ":" port "$" && $2 != "0100007F:" port {found = 1} END {exit !found}' \
    "${tables[@]}"
}

start() {
  local port
  for _ in {1..20}; do
    port=${DYNAMODB_PORT:-$((RANDOM % 12000 + 20000))}
    if launch "$port"; then
      echo "127.0.0.1:$port" >"$dir/address.new"
      mv "$dir/address.new" "$dir/address"
      return 0
    fi
    # Where the port is taken, another one may be free.
    if [[ -n ${DYNAMODB_PORT:-} ]] || ! grep -qs 'Address already in use' "$dir/log"; then break; fi
    stop
    rm -f "$dir/log"
  done
  echo "DynamoDB Local in $dir does not answer:" >&2
  tail -n 15 "$dir/log" >&2 || true
  exit 1
}

stop() {
  local pid
  running || return 0
  pid=$(cat "$dir/pid")
  # What is in memory only needs no orderly end.
  kill -KILL "$pid" 2>/dev/null || true
  while running; do sleep 0.02; done
}

finish() {
  stop
  rm -rf "$dir"
}

command=${1:-}
case $command in
  install) install && exit ;;
  version) echo "$version" && exit ;;
esac
dir=${2:-}
[[ -n $dir ]] || usage
if [[ $command == hold || $command == start ]]; then
  install
  mkdir -p "$(dirname "$dir")"
  mkdir "$dir"
  # Not the folder of a symbolic link: it is looked for in command lines.
  dir=$(cd "$dir" && pwd -P)
  mkdir "$dir/tmp"
  if [[ $command == start ]]; then start && exit; fi
  ending_with finish
  start
  until_released
  exit
fi
dir=$(cd "$dir" && pwd -P)
case $command in
  stop) finish ;;
  signal) kill "-${3:?}" "$(cat "$dir/pid")" ;;
  status)
    state=down
    ! running || state=starting
    ! answers "$(sed 's/.*://' "$dir/address")" || state=up
    echo "$(cat "$dir/address") $(cat "$dir/pid") $state"
    ;;
  *) usage ;;
esac
