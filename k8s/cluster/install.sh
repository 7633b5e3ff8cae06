#!/usr/bin/env bash
# Builds what the cluster is made of, once, into the cache: Kubernetes, etcd, CoreDNS, metrics-server and Traefik from Go modules;
# containerd, runc and the network plug-ins are Debian's. Says nothing where everything is there already. The first time takes
# some 20 minutes of two free cores, and 5 GB that are given back at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR source=settings.sh
. ./settings.sh

../../scripts/install-packages.sh --kubernetes
PATH=$PATH:/usr/lib/go-1.23/bin
mkdir -p "$bin" "$images"
# shellcheck source=scripts/once.sh
. ../../scripts/once.sh
export GOTOOLCHAIN=${GOTOOLCHAIN:-auto} CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -modcacherw -buildvcs=false -trimpath"
export GOCACHE=$root/go-build GOMODCACHE=$root/go-modules
trap 'rm -rf "$GOCACHE" "$GOMODCACHE"' EXIT

# One program for all, as it is much the same code; it is told by the name it is called by what it is to be.
build_kubernetes() {
  local package flags='-s -w' name
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d. -f2 <<<"$kubernetes")"
    flags+=" -X $package.gitTreeState=clean"
  done
  (cd go/kubernetes && go build -mod=readonly -ldflags "$flags" -o "$bin/kubernetes" .)
  for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl etcd; do
    ln -sf kubernetes "$bin/$name"
  done
}

# archive <name> <tag> <program>: the image of one static program.
archive() {
  SOURCE_DATE_EPOCH=0 python3 ../../scripts/image.py archive --output "$images/$1.tar" --name "countersign/$1:$2" \
    --entrypoint "/$1" --version "$2" --revision unknown "$3=/$1"
}

build_coredns() {
  (cd go/addons && go build -mod=readonly -ldflags '-s -w' -o "$bin/coredns" ./coredns)
  archive coredns "$coredns" "$bin/coredns"
}

build_metrics_server() {
  GOBIN=$bin go install -ldflags '-s -w' "sigs.k8s.io/metrics-server/cmd/metrics-server@v$metrics_server"
  archive metrics-server "$metrics_server" "$bin/metrics-server"
}

build_traefik() {
  (cd go/traefik && go build -mod=mod -ldflags '-s -w' -o "$bin/traefik" github.com/traefik/traefik/v3/cmd/traefik)
  archive traefik "$traefik" "$bin/traefik"
}

build_pause() {
  cc -static -Os -s -o "$bin/pause" pause.c
  archive pause 1 "$bin/pause"
}

# A client that says CQL, for the tests.
build_cql_client() {
  rm -rf "$root/cql-client"
  python3 -m venv "$root/cql-client"
  "$root/cql-client/bin/pip" install --quiet --disable-pip-version-check "cassandra-driver==$cql_client"
}

sum() { cat "$@" | sha256sum; }
once kubernetes "$kubernetes $(sum go/kubernetes/*)" build_kubernetes
once coredns "$coredns $(sum go/addons/go.* go/addons/coredns/*)" build_coredns
once metrics-server "$metrics_server" build_metrics_server
once traefik "$traefik $(sum go/traefik/*)" build_traefik
once cql-client "$cql_client" build_cql_client
once pause "$(sum pause.c)" build_pause
