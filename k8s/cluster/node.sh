#!/usr/bin/env bash
# node.sh N: containerd, kubelet and kube-proxy of node N, in its network namespace (first.sh starts it).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=settings.sh
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
node=$1 own=$run/n$1 log=$run/log pki=$run/pki
plugins=/usr/lib/cni
[[ -x $plugins/bridge ]] || plugins=$debian/usr/lib/cni
mkdir -p "$own"/{cni,kubelet,pods,plugins,manifests}

# Without restrict_oom_score_adj, runc fails where this machine itself may not lower the score.
cat >"$own/containerd.toml" <<TOML
version = 2
root = "$own/containerd"
state = "/run/n$node"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "/run/n$node/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$own/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/countersign/pause:1"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$plugins"
    conf_dir = "$own/cni"
TOML

cat >"$own/cni/10-bridge.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "n$node", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.$node.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON

cat >"$own/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/n$node.crt
tlsPrivateKeyFile: $pki/n$node.key
containerRuntimeEndpoint: unix:///run/n$node/containerd.sock
cgroupDriver: cgroupfs
oomScoreAdj: 0
cgroupRoot: /countersign-n$node
failSwapOn: false
failCgroupV1: false
enableControllerAttachDetach: true
volumePluginDir: $own/plugins
podLogsDir: $own/pods
staticPodPath: $own/manifests
clusterDNS: [$dns]
clusterDomain: cluster.local
resolvConf: ""
nodeStatusUpdateFrequency: 4s
makeIPTablesUtilChains: false
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 200Mi, nodefs.available: 2%, imagefs.available: 2%}
systemReserved: {cpu: 200m, memory: 1Gi}
enforceNodeAllocatable: []
serializeImagePulls: false
YAML

cat >"$own/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
oomScoreAdj: 0
hostnameOverride: n$node
clusterCIDR: $pods
clientConnection: {kubeconfig: $pki/proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML

# In version 1, new groups of cpuset have no processors by themselves.
while read -r folder; do mkdir -p "$folder/countersign-n$node"; done < <(groups)
for file in cpuset.cpus cpuset.mems; do
  [[ ! -e /sys/fs/cgroup/cpuset/$file ]] || cat "/sys/fs/cgroup/cpuset/$file" >"/sys/fs/cgroup/cpuset/countersign-n$node/$file"
done

of=(nsenter "--net=/run/netns/n$node")
socket=/run/n$node/containerd.sock
"${of[@]}" containerd -c "$own/containerd.toml" >"$log/containerd$node.log" 2>&1 &
until [[ -S $socket ]] && ctr --address "$socket" version >/dev/null 2>&1; do read -r -t 0.1 <> <(:) || true; done
for archive in "$images"/*.tar; do ctr --address "$socket" --namespace k8s.io images import "$archive"; done
"${of[@]}" kubelet --config="$own/kubelet.yaml" --kubeconfig="$pki/n$node.kubeconfig" --root-dir="$own/kubelet" \
  --cert-dir="$own/kubelet/pki" --hostname-override="n$node" --node-ip="$(node_address "$node")" \
  --node-labels="topology.kubernetes.io/zone=zone-$node" --v=2 >"$log/kubelet$node.log" 2>&1 &
"${of[@]}" kube-proxy --config="$own/proxy.yaml" >"$log/proxy$node.log" 2>&1 &
wait
