#!/usr/bin/env bash
# Shows that every query of every dashboard, variable and rule has data, and draws the dashboards: two pods over a CQL server
# and Valkey, a load, faults so that what counts failures has something to count, and a real Prometheus.
# Pictures go to docs/pictures/dashboards, or to the folder that is given.
#
#   CHECK_WITHOUT   programs that are not there, whose panels then have no data, and are listed
#                   (kube-state-metrics)
set -euo pipefail
cd "$(dirname "$0")/.."

pictures=$(realpath -m "${1:-docs/pictures/dashboards}")
binaries=${CARGO_TARGET_DIR:-target}/debug
without=${CHECK_WITHOUT:-kube-state-metrics}
seconds=90 rate=10
drawing=${COUNTERSIGN_CACHE:-$HOME/.cache/countersign}/dashboard-picture

# The libraries that draw, once.
mkdir -p "$drawing"
cp -r dashboards/picture/. "$drawing/"
if ! cmp -s "$drawing/package-lock.json" "$drawing/node_modules/.installed"; then
  echo "Fetching Grafana's component library, once (500 MB on disk) …"
  (cd "$drawing" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >install.log 2>&1) ||
    { tail -n 20 "$drawing/install.log" >&2 && exit 1; }
  cp "$drawing/package-lock.json" "$drawing/node_modules/.installed"
fi

(cd "$drawing" && node model.mjs "$OLDPWD/grafana/dashboards")

work=$(mktemp -d)
mkfifo "$work/held"
OBSERVE_STATE=$work/state OBSERVE_PODS=2 OBSERVE_STORE=cql OBSERVE_SCRAPE=1s OBSERVE_PROFILE=debug OBSERVE_RATE=6 \
  COUNTERSIGN_SCYLLA_STATEMENT_TIMEOUT=1s COUNTERSIGN_VALKEY_TIMEOUT=500ms \
  scripts/observe.sh --held <"$work/held" >"$work/log" 2>&1 &
observed=$!
exec 7>"$work/held"
trap 'exec 7>&-; wait "$observed" || true; rm -rf "$work"' EXIT
until [[ -s $work/state ]]; do
  kill -0 "$observed" 2>/dev/null || { cat "$work/log" >&2 && exit 1; }
  read -r -t 0.2 <> <(:) || true
done
prometheus='' urls='' valkey='' cql=''
# shellcheck disable=SC1091 # written by observe.sh
source "$work/state"
read -ra pods <<<"$urls"
echo "Running; Prometheus is at $prometheus."

pause() { read -r -t "$1" <> <(:) || true; }
# Requests of somebody who gets everything wrong.
strangers() {
  local id=11111111-1111-4111-8111-111111111111 url=${pods[RANDOM % ${#pods[@]}]}
  local now input
  now=$(date +%s)
  input="sig1=(\"@method\" \"@path\" \"@query\");created=$now;nonce=\"${now}000000\";keyid=\"$id/$id/$id\";alg=\"hmac-sha256\""
  local ask=(curl -s -o /dev/null --max-time 5)
  "${ask[@]}" "$url/nowhere" || true
  "${ask[@]}" -X PATCH "$url/$id" || true
  "${ask[@]}" "$url/$id/$id/message" || true
  "${ask[@]}" "$url/$id/not-an-id/message" || true
  "${ask[@]}" -H "signature-input: $input" -H "signature: sig1=:$(head -c 32 /dev/urandom | base64):" "$url/$id/$id/message" || true
}
# New people: session keys, and changes of organizations.
newcomers=''
newcomers() {
  [[ -z $newcomers ]] || ! kill -0 "$newcomers" 2>/dev/null || return 0
  "$binaries/countersign-loadtest" ledger "${pods[@]/#/--url=}" --rate 1 --duration 3s \
    --folder "$work/newcomers/$RANDOM$RANDOM" >"$work/newcomers.log" 2>&1 7>&- &
  newcomers=$!
}
began=$SECONDS
next=12
while ((SECONDS - began < seconds + 10)); do
  strangers
  newcomers
  pause 0.5
  if ((SECONDS - began >= next)); then
    next=$((next + 25))
    echo "Valkey stops for 2 s, and then the CQL server for 3 s."
    kill -STOP "$valkey"; pause 2; kill -CONT "$valkey"
    pause 3
    scripts/cql.sh signal "$cql" 1 STOP; pause 3; scripts/cql.sh signal "$cql" 1 CONT
  fi
done

kill -KILL "$newcomers" 2>/dev/null || true
wait "$newcomers" 2>/dev/null || true

status=0
"$binaries/countersign-dashboards" check "$prometheus" --seconds "$seconds" --rate "$rate" --without "$without" || status=1
(cd "$drawing" && node draw.mjs "$prometheus" "$OLDPWD/grafana/dashboards" "$pictures" "$seconds" "$rate") >"$work/drawn" || status=1
jq -r '"\(if .drawn then "drawn" else "NOT drawn, it has no data:" end) \(.dashboard): \(.errors + .failed | length) errors; empty: \(.empty | length)", (.errors + .failed + .empty | .[] | "  \(.)")' "$work/drawn"
echo "The pictures are in $pictures."
exit "$status"
