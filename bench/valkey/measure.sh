#!/usr/bin/env bash
# Measures the server-side functions on one Valkey process of this machine: steps a second, the server's CPU for each, and
# the memory of a user, a client and an arrival. Needs Valkey's tools; `make test` installs them.
set -euo pipefail
cd "$(dirname "$0")/../.."

coproc VALKEY { scripts/valkey.sh single; }
read -r port pid <&"${VALKEY[0]}"
read -r _ <&"${VALKEY[0]}"
cli() { valkey-cli -p "$port" "$@"; }

cli -x FUNCTION LOAD < <(sed 's/@VERSION@/bench/' service/src/ephemeral/valkey/functions.lua) >/dev/null
sixteen=0123456789abcdef
session=$sixteen$sixteen$sixteen$sixteen
user='countersign:1:{1a1a1a1a-1a1a-1a1a-1a1a-1a1a1a1a1a1a#2b2b2b2b-2b2b-2b2b-2b2b-__rand_int__}'
row=${sixteen}${sixteen}123456789
day=86460000 minutes=300000

# Runs one command that many times over 10 000 users and prints steps a second and CPU microseconds for each.
ticks() { awk '{print $14 + $15}' "/proc/$pid/stat"; }
measure() {
  local name=$1 count=$2 before after rate
  shift 2
  before=$(ticks)
  rate=$(valkey-benchmark -p "$port" -c 50 -P 8 -r 10000 -n "$count" --csv "$@" | awk -F'","' 'END {print int($2)}')
  after=$(ticks)
  awk -v name="$name" -v rate="$rate" -v ticks=$((after - before)) -v hz="$(getconf CLK_TCK)" -v count="$count" \
    'BEGIN {printf "%-44s %8d a second %7.1f µs CPU\n", name, rate, ticks / hz * 1e6 / count}'
}
memory() { cli INFO memory | sed -n 's/^used_memory:\([0-9]*\).*/\1/p'; }
# Runs one function so often that all 10 000 users have had it.
everybody() { valkey-benchmark -p "$port" -c 50 -P 8 -r 10000 -n 200000 --csv "$@" >/dev/null; }
grown() { awk -v name="$1" -v bytes=$(($(memory) - before)) -v things="$2" 'BEGIN {printf "%-44s %8.0f bytes\n", name, bytes / things}'; }

before=$(memory)
everybody FCALL countersign_bench_begin 1 "$user:clients" "$sixteen" "$session" "$day" 0 0
grown 'a user with one session' 10000
measure 'GET of nothing, for comparison' 400000 GET "$user:nothing"
# The same nonce and the same attempt are one admission that is repeated: it takes the whole way.
measure 'admit a request' 400000 FCALL countersign_bench_admit 1 "$user:clients" "$sixteen" "$sixteen" 1795400000000000 attempt1
before=$(memory)
for client in 2 3 4 5; do
  id=${client}${sixteen:1}
  everybody FCALL countersign_bench_begin 1 "$user:clients" "$id" "$session" "$day" 0 0
  everybody FCALL countersign_bench_admit 1 "$user:clients" "$id" "$sixteen" 1795400000000000 attempt1
done
grown 'each further client, with its state' 40000
# What has two keys is measured on one user: the tool draws another number for each key.
one=${user/__rand_int__/000000000001}
listing=(FCALL countersign_bench_admit 2 "$one:clients" "$one:arrivals" "$sixteen" "$sixteen" 1795400000000000 attempt1
  "$minutes" 1000 epoch123)
arrival=(FCALL countersign_bench_arrive 2 "$one:clients" "$one:arrivals" "$row" "$minutes" 1000 epoch123 "$one:wake-ups")
cli "${listing[@]}" >/dev/null
mark() { head -c "$1" /dev/zero | sed 's/^/epoch123/' | cli -x FCALL countersign_bench_remember 1 "$one:clients" "$sixteen" 1 1 1 ''; }
mark 16 >/dev/null
measure 'admit a check with nothing new' 400000 "${listing[@]}"
measure 'append an arrival and wake, 1000 kept' 400000 "${arrival[@]}"
measure 'admit a listing of 1000 arrivals' 20000 "${listing[@]}"
before=$(memory)
for number in {100..149}; do
  other=${user/__rand_int__/000000000$number}
  cli FCALL countersign_bench_admit 2 "$other:clients" "$other:arrivals" "$sixteen" "$sixteen" 1795400000000000 attempt1 \
    "$minutes" 1000 epoch123 >/dev/null
  valkey-benchmark -p "$port" -c 1 -P 8 -n 1000 --csv FCALL countersign_bench_arrive 2 "$other:clients" "$other:arrivals" \
    "$row" "$minutes" 1000 epoch123 "$other:wake-ups" >/dev/null
done
grown 'an arrival, 1000 for each of 50 users' 50000
eval "exec ${VALKEY[1]}>&-"
wait
