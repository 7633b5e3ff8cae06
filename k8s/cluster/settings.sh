# shellcheck shell=bash disable=SC2034
# What the scripts of this folder agree on. All addresses exist in the cluster's own network namespaces only.
cache=${COUNTERSIGN_CACHE:-$HOME/.cache/countersign}
root=$cache/kubernetes
# containerd, runc and the network plug-ins, where they are not installed.
debian=$cache/debian
bin=$root/bin
images=$root/images
# The state of the running cluster; `cluster.sh down` throws it away.
run=$root/run
# The last minor version that takes control groups of both versions without being asked.
kubernetes=v1.34.4
coredns=1.13.1
metrics_server=0.9.0
traefik=3.6.12
cql_client=3.30.1
nodes=${K8S_NODES:-2}
control_plane=10.200.0.1
# groups: the roots of control groups: one tree for each controller in version 1, one for all in version 2.
groups() { awk '$3 ~ /^cgroup2?$/ {print $2}' /proc/mounts | sort -u; }
node_address() { echo "10.200.0.1$1"; }
# Node N has 10.244.N.0/24.
pods=10.244.0.0/16
services=10.96.0.0/16
dns=10.96.0.10
# Where servers beside the cluster can listen, for pods to reach: .1 to .9.
outside=10.201.0
export PATH=$bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin:$debian/usr/bin:$debian/usr/sbin:$cache/chart-tools/bin
