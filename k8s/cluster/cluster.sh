#!/usr/bin/env bash
# A real Kubernetes of two nodes on this machine, to test the chart on: API server, etcd, controllers, scheduler, and of each node containerd, kubelet
# and kube-proxy; DNS, metrics and Traefik as ingress controller. All of it runs in namespaces of its own: no address of it can be reached from
# outside, and when its first process ends, everything does. Needs root.
#
#   cluster.sh up                       start it, unless it is up, and wait until it is ready
#   cluster.sh down                     end it, and remove all that it was
#   cluster.sh in [-n NODE] COMMAND…    run a command where its addresses exist: kubectl, helm, curl
#   cluster.sh load ARCHIVE…            import images into all nodes
#   cluster.sh status                   say whether it is up; exit code 3 if not
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=settings.sh
. "$here/settings.sh"

fail() { echo "$*" >&2 && exit 1; }
usage() { sed -n '6,10s/^# \{0,1\}//p' "$0" >&2 && exit 64; }

# first: the process that the namespaces belong to; nothing if it is not there.
first() {
  local pid
  pid=$(cat "$run/first.pid" 2>/dev/null) && [[ -n $pid ]] || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$here/first.sh" || return 1
  echo "$pid"
}

within() {
  local pid enter
  pid=$(first) || fail "The cluster is not up: make k8s-up"
  export KUBECONFIG=$run/pki/admin.kubeconfig
  enter=(nsenter --target "$pid" --mount --pid --net --ipc --uts --)
  if [[ ${1:-} == -n ]]; then
    enter+=(nsenter "--net=/run/netns/n$2" --)
    shift 2
  fi
  # shellcheck disable=SC2016 # expanded there
  exec "${enter[@]}" sh -c 'cd "$0" && exec "$@"' "$PWD" "$@"
}

# await <what> <seconds> <command…>: until the command succeeds.
await() {
  local what=$1 end=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    first >/dev/null || { tail -n 20 "$run"/log/*.log >&2 && fail "The cluster ended while it started."; }
    ((SECONDS < end)) || fail "$what took too long; the logs are in $run/log"
    read -r -t 0.2 <> <(:) || true
  done
}

up() {
  first >/dev/null && return
  ((EUID == 0)) || fail "The cluster needs root, for namespaces and control groups."
  "$here/install.sh"
  down
  mkdir -p "$run/log" "$run/pki"
  # What the kubelet sets for the whole machine is put back in the end.
  local name
  for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    [[ ! -e /proc/sys/$name ]] || echo "$name $(cat "/proc/sys/$name")"
  done >"$run/sysctl"
  "$here/pki.sh" "$run/pki" 2>"$run/log/pki.log"
  unshare --mount --pid --fork --kill-child --mount-proc --net --ipc --uts --propagation private \
    setsid "$here/first.sh" >"$run/log/first.log" 2>&1 </dev/null &
  # Kept, since bash takes what pauses for the last one too.
  local pid started=$!
  until pid=$(pgrep -P "$started"); do
    kill -0 "$started" 2>/dev/null || { cat "$run/log/first.log" >&2 && fail "The cluster could not be started."; }
    read -r -t 0.05 <> <(:) || true
  done
  disown
  echo "$pid" >"$run/first.pid"
  until first >/dev/null; do
    kill -0 "$pid" 2>/dev/null || { cat "$run/log/first.log" >&2 && fail "The cluster could not be started."; }
    read -r -t 0.05 <> <(:) || true
  done
  await "The API server" 120 "$0" in kubectl get --raw /readyz
  await "The first service account" 60 "$0" in kubectl get serviceaccount default
  for ((node = 1; node <= nodes; node++)); do await "Node $node" 90 "$0" in kubectl get node "n$node"; done
  "$0" in kubectl wait --for=condition=Ready node --all --timeout=90s >/dev/null
  "$0" in kubectl apply -f "$here/manifests" >/dev/null
  for name in deployment/coredns deployment/metrics-server daemonset/traefik; do
    "$0" in kubectl -n kube-system rollout status "$name" --timeout=120s >/dev/null
  done
}

down() {
  local pid folder name value
  if pid=$(first); then
    kill -KILL "$pid"
    while [[ -e /proc/$pid ]]; do read -r -t 0.05 <> <(:) || true; done
  fi
  while read -r folder; do
    for name in "$folder"/countersign-n*; do
      [[ ! -d $name ]] || find "$name" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
  done < <(groups)
  if [[ -e $run/sysctl ]]; then
    while read -r name value; do echo "$value" >"/proc/sys/$name" || true; done <"$run/sysctl"
  fi
  rm -rf "$run"
}

load() {
  local archive node
  for archive in "$@"; do
    for ((node = 1; node <= nodes; node++)); do
      "$0" in ctr --address "/run/n$node/containerd.sock" --namespace k8s.io images import "$archive" >/dev/null
    done
  done
}

command=${1:-}
[[ -n $command ]] || usage
shift
case $command in
  up) up ;;
  down) down ;;
  in) within "$@" ;;
  load) load "$@" ;;
  status)
    if first >/dev/null; then echo up; else echo down && exit 3; fi
    ;;
  *) usage ;;
esac
