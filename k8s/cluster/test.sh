#!/usr/bin/env bash
# Installs the chart on the Kubernetes of cluster.sh, over a CQL server and a Valkey cluster beside it, and does to it what
# happens to services: it is scaled, upgraded, rolled back, restarted, killed and drained, while the ledger writes and reads through
# the ingress. What was promised must arrive, and but for what a kill cuts off, no request may fail at all.
#
#   K8S_PROFILE     how the programs are built (release)
#   K8S_KEEP        yes: leave release and namespaces there, to look at
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.." || exit 1
# shellcheck source-path=SCRIPTDIR source=settings.sh
. "$here/settings.sh"

namespace=countersign
url=https://messages.test:30443
work=$(mktemp -d)
passed=0 failed=0

fail() { echo "$*" >&2 && exit 1; }
there() { "$here/cluster.sh" in "$@"; }
k() { there kubectl --namespace "$namespace" "$@"; }

stop() {
  [[ -z ${load:-} ]] || end_of "$load" KILL
  if [[ ${K8S_KEEP:-} != yes ]]; then
    there kubectl delete namespace "$namespace" countersign-late --ignore-not-found --wait=false
    there kubectl delete priorityclass countersign countersign-stores countersign-loadtest --ignore-not-found
  fi >/dev/null 2>&1
  # The servers end with their standard input.
  exec 8>&- 9>&-
  wait 2>/dev/null
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 1' INT TERM HUP

# end_of <process> <signal>: signals the program at the end of a chain of only children: our own shell, nsenter, and what that has started.
end_of() {
  local process=$1 child
  # The file has no end of line.
  while child='' && read -r child _ <"/proc/$process/task/$process/children" || [[ -n $child ]]; do process=$child; done
  [[ $process != "$1" ]] && kill "-$2" "$process"
} 2>/dev/null

# eventually <seconds> <command…>: until the command succeeds.
eventually() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    read -r -t 0.5 <> <(:) || true
  done
}

# check <what> <command…>
check() {
  local what=$1
  shift
  if "$@" >"$work/check.log" 2>&1; then
    passed=$((passed + 1))
    echo "test kubernetes: $what ... ok"
  else
    failed=$((failed + 1))
    echo "test kubernetes: $what ... FAILED"
    tail -n 25 "$work/check.log" | sed 's/^/    /'
  fi
}

# === What there is to install ===

# The same time for each commit: with another, all would be compiled again.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0} IMAGES=$work/images PROFILE=${K8S_PROFILE:-release} scripts/image.sh service loadtest </dev/null >"$work/image.log" 2>&1 ||
  { tail -n 30 "$work/image.log" >&2 && fail "The image could not be built."; }
# The image's program runs outside of it too.
loadtest=$work/images/countersign-loadtest
"$here/cluster.sh" load "$work/images/service.tar" "$work/images/loadtest.tar" || exit 1
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
image=docker.io/countersign/countersignd
for ((node = 1; node <= nodes; node++)); do
  there ctr --address "/run/n$node/containerd.sock" --namespace k8s.io images tag --force "$image:$version" "$image:next" >/dev/null || exit 1
done

# === Servers beside the cluster ===

mkfifo "$work/cql-held" "$work/valkey-held"
CQL_NET=$outside there scripts/cql.sh hold "$work/cql" <"$work/cql-held" >"$work/cql.log" 2>&1 &
cql=$!
exec 8>"$work/cql-held"
VALKEY_ADDRESS=$outside.1 there scripts/valkey.sh cluster <"$work/valkey-held" >"$work/valkey" 2>&1 8>&- &
valkey=$!
exec 9>"$work/valkey-held"
until [[ -e $work/cql/address ]] && grep -qx ready "$work/valkey"; do
  for pid in "$cql" "$valkey"; do kill -0 "$pid" 2>/dev/null || { cat "$work/cql.log" "$work/valkey" >&2 && exit 1; }; done
  read -r -t 0.2 <> <(:) || true
done

# === What the chart names ===

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=test CA' \
  -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=messages.test -keyout "$work/tls.key" 2>/dev/null |
  openssl x509 -req -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 2 -out "$work/tls.pem" \
    -extfile <(echo subjectAltName=DNS:messages.test) 2>/dev/null
"$loadtest" setup --super-administrators "$work/super-administrators.asc" >/dev/null || exit 1
there kubectl apply --server-side -f "$cache/chart-tools/definitions/prometheus-operator" >/dev/null || exit 1
there kubectl apply -f k8s/components/isolation/priorityclasses.yaml >/dev/null || exit 1

# prepare <namespace>: what the chart only names. Pods must meet the restricted standard, or they are refused.
prepare() {
  there kubectl create namespace "$1" &&
    there kubectl label namespace "$1" pod-security.kubernetes.io/enforce=restricted &&
    there kubectl --namespace "$1" create secret generic countersign-scylla --from-literal=username=cassandra --from-literal=password=cassandra &&
    there kubectl --namespace "$1" create configmap scylla-ca --from-file="ca-bundle.crt=$work/cql/tls/ca.pem" &&
    there kubectl --namespace "$1" create secret tls messages-test-tls --cert="$work/tls.pem" --key="$work/tls.key" &&
    there kubectl --namespace "$1" create secret generic countersign-super-administrators \
      --from-file="super-administrators.asc=$work/super-administrators.asc"
}
keys=${COUNTERSIGN_LOADTEST_KEYS:-$cache/loadtest-keys}
# What an earlier run may have left.
there kubectl delete namespace "$namespace" countersign-late --ignore-not-found --wait=true >/dev/null
prepare "$namespace" >/dev/null || exit 1
prepare countersign-late >/dev/null || exit 1
awk -v address="$outside.1" '$1 != "ready" {hosts = hosts (hosts ? ", " : "") address ":" $1}
  END {print "valkey: {hosts: [" hosts "]}"}' "$work/valkey" >"$work/values.yaml"
values=(--values charts/countersign/values-ha.yaml --values "$here/values.yaml" --values "$work/values.yaml")

# install <helm3|helm4> <chart> [option]…
install() {
  local helm=$1 chart=$2
  shift 2
  there "$helm" upgrade --install countersign "$chart" --namespace "$namespace" "${values[@]}" --wait --timeout 240s "$@"
}
settled() { k rollout status deployment/countersign --timeout=240s; }
# The pods that are not about to end.
pods() {
  k get pods --selector app.kubernetes.io/name=countersign,app.kubernetes.io/component=service --output json |
    jq -r '.items[] | select(.metadata.deletionTimestamp == null) | .metadata.name'
}
are() { [[ $(pods | wc -l) == "$1" ]]; }
metrics_of() { k get --raw "/api/v1/namespaces/$namespace/pods/$1:9090/proxy/metrics"; }
# Whether each pod has answered messages.
all_answer() {
  local pod
  for pod in $(pods); do
    metrics_of "$pod" | grep -q '^countersign_requests_total{operation="send_message",outcome="ok"} [1-9]' || return 1
  done
}

# === Load ===

# begin_load <name> [how]…: 20 people write to each other through the ingress: 20 messages a second, or as is said.
begin_load() {
  local name=$1
  shift
  (($# > 0)) || set -- --rate 20
  there "$loadtest" run --url "$url" --ca "$work/ca.pem" --users 20 --organization-users 10 --clients 2 --bytes 1000 \
    --warm-up 1s --duration 1h --name "$name" --folder "$work/load/$name" "$@" >"$work/load.log" 2>&1 &
  load=$!
  eventually 120 test -s "$work/load/$name/results.jsonl" || { cat "$work/load.log" && return 1; }
}

# end_load <name> <failures>: what was promised must have arrived, all that was sent be promised, and no more requests than that
# have failed at the first attempt.
end_load() {
  local summary=$work/load/$1/summary.json
  end_of "$load" INT
  wait "$load"
  load=''
  jq -e --argjson most "$2" '
    {ledger, failed: ([.operations[].endings[2:4][]] | add), refused: ([.operations[].endings[1]] | add)}
    | ., (.ledger.promised > 0 and .ledger.lost + .ledger.corrupted + .ledger.duplicated + .ledger.refused + .ledger.unanswered == 0
      and .failed <= $most and (.refused == 0 or $most > 0))' "$summary" || { tail -n 20 "$work/load.log" && return 1; }
}

# under_load <name> <failures> <command…>
under_load() {
  local name=$1 most=$2
  shift 2
  begin_load "$name" || return 1
  "$@"
  local code=$?
  end_load "$name" "$most" && ((code == 0))
}

# === Cases ===

previous_version() {
  there helm3 package charts/countersign --version 0.0.9 --destination "$work" && install helm3 "$work/countersign-0.0.9.tgz"
}
helm_test() { there helm3 test countersign --namespace "$namespace" --logs; }
# Over TLS, with a certificate that is checked, and no way to what operators see.
through_the_ingress() {
  eventually 30 answers_400 "$url/none" && answers_400 "$url/metrics" &&
    ! there curl --silent --cacert "$work/cql/tls/ca.pem" "$url/"
}
# The service's own answer to what is no operation; an ingress that knows no way to it answers 404 or 502.
answers_400() {
  [[ $(there curl --silent --cacert "$work/ca.pem" --output /dev/null --write-out '%{http_code}' "$1") == 400 ]]
}
scale() {
  k scale deployment/countersign --replicas=4 && settled && are 4 && eventually 60 all_answer &&
    k scale deployment/countersign --replicas=2 && eventually 90 are 2 && settled && eventually 30 all_answer
}
# The schema's Job is a hook: without it, nothing would have been replaced.
upgrade() {
  install helm4 charts/countersign --set image.tag=next &&
    [[ $(k get pods --output jsonpath='{.items[*].spec.containers[*].image}') == *:next* ]] &&
    k get events --field-selector reason=Completed,involvedObject.kind=Job | grep countersign-schema
}
roll_back() { there helm4 rollback countersign --namespace "$namespace" --wait --timeout 240s && settled; }
restart() { k rollout restart deployment/countersign && settled; }
kill_a_pod() {
  local one
  one=$(pods | head -n 1)
  k delete pod "$one" --grace-period=0 --force && settled && eventually 60 all_answer
}
drain() {
  there kubectl drain n2 --ignore-daemonsets --delete-emptydir-data --timeout=180s && settled &&
    [[ $(k get pods --output jsonpath='{.items[*].spec.nodeName}') != *n2* ]]
  local code=$?
  there kubectl uncordon n2 && return "$code"
}
desired() { k get horizontalpodautoscaler countersign --output jsonpath='{.status.desiredReplicas}'; }
at_least() { (($(desired) >= $1)); }
at_most() { (($(desired) <= $1)); }
autoscale() {
  install helm4 charts/countersign --set autoscaling.mode=hpa || return 1
  eventually 120 at_most 1 || return 1
  begin_load autoscale --closed 20 || return 1
  eventually 180 at_least 3
  local code=$?
  end_load autoscale 0 && ((code == 0)) && eventually 180 at_most 1
}
# Another release, whose keyspace nobody made: its pod says so, and waits.
late() {
  there helm4 upgrade --install late charts/countersign --namespace countersign-late "${values[@]}" "$@" \
    --set autoscaling.mode=fixed,replicas=1,ingress.enabled=false,store.scylla.keyspace=late
}
state_of_late() {
  there kubectl --namespace countersign-late get pods --selector app.kubernetes.io/component=service --output json |
    jq -r '.items[0].status | "\(.phase) \(.containerStatuses[0].ready) \(.containerStatuses[0].restartCount)"'
}
is_late() { [[ $(state_of_late) == "$1" ]]; }
says_so() {
  there kubectl --namespace countersign-late logs --selector app.kubernetes.io/component=service --tail=-1 | grep -i schema
}
waits_for_the_schema() {
  late --set schema.mode=none && eventually 60 is_late 'Running false 0' && eventually 60 says_so && is_late 'Running false 0'
}
goes_on_with_it() { late --set schema.mode=hook --wait --timeout 240s && is_late 'Running true 0'; }
cql() {
  there "$root/cql-client/bin/python" - "$outside.1" "$@" <<'PYTHON'
import sys
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster

login = PlainTextAuthProvider("cassandra", "cassandra")
with Cluster([sys.argv[1]], auth_provider=login) as cluster:
    session = cluster.connect()
    for statement in sys.argv[2:]:
        session.execute(statement)
PYTHON
}
start_late_again() {
  local deployments=(kubectl --namespace countersign-late scale deployment --selector app.kubernetes.io/component=service)
  there "${deployments[@]}" --replicas=0 && eventually 60 is_late 'null null null' && there "${deployments[@]}" --replicas=1
}
# As if a program that needs more were put over the schema of an older one.
waits_for_a_newer_schema() {
  cql "DELETE FROM late.schema_version WHERE component = 'store'" \
    "INSERT INTO late.schema_version (component, version, applied) VALUES ('store', 0, toTimestamp(now()))" &&
    start_late_again && eventually 60 is_late 'Running false 0' && eventually 60 says_so &&
    there kubectl --namespace countersign-late logs --selector app.kubernetes.io/component=service --tail=-1 | grep 'is at version 0' &&
    is_late 'Running false 0'
}
# The load tester, in a pod, with the rights of k8s/scaling and no others.
scale_itself() {
  install helm4 charts/countersign && k scale deployment/countersign --replicas=2 && settled || return 1
  k create secret generic countersign-loadtest-keys --from-file="super-administrators.pgp=$keys/super-administrators.pgp" || return 1
  there kubectl kustomize k8s/scaling | sed -e 's/--pods=.*/--pods=1,2/' -e 's/--measured=.*/--measured=10s/' -e 's/cpu: "1"/cpu: 100m/' |
    k apply --filename - || return 1
  eventually 300 ended countersign-scaling
  k logs job/countersign-scaling
  [[ $(k get job countersign-scaling --output jsonpath='{.status.succeeded}') == 1 ]] && eventually 60 are 2 &&
    ! k auth can-i delete pods --as "system:serviceaccount:$namespace:countersign-scaling" &&
    ! k auth can-i patch deployments --as "system:serviceaccount:$namespace:countersign-scaling"
}
ended() { [[ $(k get job "$1" --output jsonpath='{.status.succeeded}{.status.failed}') == [1-9]* ]]; }

# probe <name> <namespace>: whether a pod there reaches the metrics of a pod of the service, which only those may whom the policy names.
probe() {
  local address
  address=$(k get pod "$(pods | head -n 1)" --output jsonpath='{.status.podIP}')
  there kubectl --namespace "$2" run "$1" --image="$image:$version" --restart=Never --labels="app.kubernetes.io/name=$1" --overrides '{"spec": {
    "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [{"name": "probe", "image": "'"$image:$version"'", "args": ["healthcheck", "--admin-listen", "'"$address:9090"'"],
      "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}}' >/dev/null
  eventually 120 over "$1" "$2" || return 1
  [[ $(there kubectl --namespace "$2" get pod "$1" --output jsonpath='{.status.phase}') == Succeeded ]]
}
over() { [[ $(there kubectl --namespace "$2" get pod "$1" --output jsonpath='{.status.phase}') =~ Succeeded|Failed ]]; }
policies_hold() { probe countersign-scaling "$namespace" && ! probe stranger countersign-late; }
# Whether the network plug-in enforces policies at all: whom the chart's policy names reaches a pod, and who may reach nothing does not.
policies_are_enforced() {
  there kubectl --namespace countersign-late apply --filename - >/dev/null <<'YAML'
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nobody}
spec: {podSelector: {matchLabels: {app.kubernetes.io/name: cut-off}}, policyTypes: [Ingress, Egress]}
YAML
  settled >/dev/null
  probe countersign-scaling "$namespace" && there kubectl --namespace "$namespace" delete pod countersign-scaling >/dev/null &&
    ! probe cut-off countersign-late
}

check 'the previous version of the chart is installed by Helm 3' previous_version
check 'helm test passes' helm_test
check 'requests come through the ingress by TLS, and metrics do not' through_the_ingress
check 'scaled from one pod to four and to two, nothing fails' under_load scale 0 scale
check 'upgraded by Helm 4 with its schema, nothing fails' under_load upgrade 0 upgrade
check 'rolled back, nothing fails' under_load rollback 0 roll_back
check 'restarted pod by pod, nothing fails' under_load restart 0 restart
# A person has at most a message and two listings on their way.
check 'with a pod killed, only what was on its way fails' under_load kill 60 kill_a_pod
check 'with a node drained, nothing fails' under_load drain 0 drain
check 'the autoscaler adds pods under load and takes them away after it' autoscale
if policies_are_enforced; then
  check 'the metrics are reached by whom the policy names, and by nobody else' policies_hold
else
  echo "This cluster's network plug-in enforces no NetworkPolicy: what policies deny is not shown here."
fi
check 'the load tester scales the Deployment from a pod, by no more rights than it needs' scale_itself
check 'a pod that finds no schema is not ready, says so and is not restarted' waits_for_the_schema
check 'and is ready when there is one' goes_on_with_it
check 'a pod on too old a schema is not ready, says so and is not restarted' waits_for_a_newer_schema
check 'and is ready when an upgrade has brought it on' goes_on_with_it

echo "test result: $( ((failed == 0)) && echo ok || echo FAILED). $passed passed; $failed failed; (kubernetes)"
((failed == 0 && passed > 0))
