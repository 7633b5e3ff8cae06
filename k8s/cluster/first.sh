#!/usr/bin/env bash
# The first process of the cluster's namespaces (cluster.sh starts it): makes the network, starts the control plane and the
# nodes, and reaps whatever is left behind.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=settings.sh
. "$here/settings.sh"
cd "$run"
log=$run/log pki=$run/pki

hostname countersign-k8s
mount --make-rshared /
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock "$run/cni" /var/lib/cni
mount --bind "$run/cni" /var/lib/cni
# The name under which the tests reach the ingress.
printf '127.0.0.1 localhost\n%s messages.test\n' "$(node_address 1)" >"$run/hosts"
mount --bind "$run/hosts" /etc/hosts

# === Network: a bridge in the control plane's namespace, and a namespace for each node ===

ip link set lo up
ip link add br0 type bridge
ip link set br0 up
ip address add "$control_plane/24" dev br0
for number in {1..9}; do ip address add "$outside.$number/24" dev br0; done
sysctl -qw net.ipv4.ip_forward=1
ip route add "$services" via "$(node_address 1)"
for ((node = 1; node <= nodes; node++)); do
  ip netns add "n$node"
  ip link add "v$node" type veth peer name eth0 netns "n$node"
  ip link set "v$node" master br0 up
  of=(nsenter "--net=/run/netns/n$node")
  "${of[@]}" ip link set lo up
  "${of[@]}" ip address add "$(node_address "$node")/24" dev eth0
  "${of[@]}" ip link set eth0 up
  "${of[@]}" sysctl -qw net.ipv4.ip_forward=1
  "${of[@]}" sysctl -qw net.bridge.bridge-nf-call-iptables=1
  ip route add "10.244.$node.0/24" via "$(node_address "$node")"
  for ((other = 1; other <= nodes; other++)); do
    ((other == node)) || "${of[@]}" ip route add "10.244.$other.0/24" via "$(node_address "$other")"
  done
  "${of[@]}" ip route add default via "$control_plane"
done

# === Control plane ===

etcd --name countersign --data-dir "$run/etcd" --unsafe-no-fsync --log-level warn \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
  --initial-cluster countersign=http://127.0.0.1:2380 >"$log/etcd.log" 2>&1 &
kube-apiserver --etcd-servers=http://127.0.0.1:2379 --advertise-address="$control_plane" --bind-address=0.0.0.0 --secure-port=6443 \
  --service-cluster-ip-range="$services" --authorization-mode=Node,RBAC --allow-privileged=true --anonymous-auth=false \
  --enable-admission-plugins=NodeRestriction --endpoint-reconciler-type=lease \
  --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
  --kubelet-client-certificate="$pki/apiserver-kubelet.crt" --kubelet-client-key="$pki/apiserver-kubelet.key" \
  --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$pki/sa.pub" \
  --service-account-signing-key-file="$pki/sa.key" \
  --requestheader-client-ca-file="$pki/front.crt" --requestheader-allowed-names=front-proxy-client \
  --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
  --requestheader-extra-headers-prefix=X-Remote-Extra- \
  --proxy-client-cert-file="$pki/front-proxy.crt" --proxy-client-key-file="$pki/front-proxy.key" \
  --enable-aggregator-routing=true >"$log/apiserver.log" 2>&1 &
until kubectl --kubeconfig "$pki/admin.kubeconfig" get --raw /livez >/dev/null 2>&1; do read -r -t 0.2 <> <(:) || true; done
# The autoscaler looks often, so that a test need not wait for long.
kube-controller-manager --kubeconfig="$pki/controller-manager.kubeconfig" \
  --authentication-kubeconfig="$pki/controller-manager.kubeconfig" --authorization-kubeconfig="$pki/controller-manager.kubeconfig" \
  --leader-elect=false --use-service-account-credentials=true --service-account-private-key-file="$pki/sa.key" \
  --root-ca-file="$pki/ca.crt" --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
  --cluster-cidr="$pods" --allocate-node-cidrs=false --node-monitor-grace-period=20s \
  --horizontal-pod-autoscaler-sync-period=5s --horizontal-pod-autoscaler-initial-readiness-delay=5s \
  --horizontal-pod-autoscaler-cpu-initialization-period=20s >"$log/controller-manager.log" 2>&1 &
kube-scheduler --kubeconfig="$pki/scheduler.kubeconfig" --authentication-kubeconfig="$pki/scheduler.kubeconfig" \
  --authorization-kubeconfig="$pki/scheduler.kubeconfig" --leader-elect=false >"$log/scheduler.log" 2>&1 &
for ((node = 1; node <= nodes; node++)); do "$here/node.sh" "$node" >"$log/node$node.log" 2>&1 & done

# As the first process, it inherits all orphans.
while :; do
  wait || true
  read -r -t 1 <> <(:) || true
done
