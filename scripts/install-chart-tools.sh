#!/usr/bin/env bash
# Installs the pinned versions of what `make check-chart` needs, outside the tree: Helm 3 and 4, helm-unittest and
# kustomize, built from Go modules; the definitions of others' resources, from Go modules too; and Python packages in an
# environment of their own. Says nothing where everything is there already.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-packages.sh --chart
PATH=$PATH:/usr/lib/go-1.23/bin

# program=module@version
programs=(
  helm3=helm.sh/helm/v3/cmd/helm@v3.22.0
  helm4=helm.sh/helm/v4/cmd/helm@v4.3.1
  kustomize=sigs.k8s.io/kustomize/kustomize/v5@v5.7.1
)
# Needs a module of its own: scripts/go-tools/<name>
modules=(helm-unittest=github.com/helm-unittest/helm-unittest/cmd/helm-unittest)

# Definitions (CRDs) of the resources that chart and overlays have: folder=module@version:path in it:ends of the files' names, with + between
definitions=(
  gateway-api=sigs.k8s.io/gateway-api@v1.4.0:config/crd/standard:_gatewayclasses+_gateways+_httproutes+_backendtlspolicies
  prometheus-operator=github.com/prometheus-operator/prometheus-operator@v0.85.0:example/prometheus-operator-crd:_servicemonitors+_podmonitors+_prometheusrules
  cert-manager=github.com/cert-manager/cert-manager@v1.21.2:deploy/crds:_certificates+_issuers+_clusterissuers
  keda=github.com/kedacore/keda/v2@v2.21.0:config/crd/bases:_scaledobjects
)

root=${COUNTERSIGN_CACHE:-$HOME/.cache/countersign}/chart-tools
mkdir -p "$root/bin" "$root/definitions"
# shellcheck source=scripts/once.sh
. scripts/once.sh
# Building needs some 4 GB besides, which are given back at the end.
export GOTOOLCHAIN=${GOTOOLCHAIN:-auto} CGO_ENABLED=0 GOCACHE=$root/go-build GOMODCACHE=$root/go-modules GOFLAGS="${GOFLAGS:-} -modcacherw"
trap 'rm -rf "$root/go-build" "$root/go-modules" "$root/build"' EXIT

install_program() {
  local folder=$root/build
  mkdir -p "$folder"
  GOBIN=$folder go install -trimpath -ldflags '-s -w' "$2"
  mv "$folder"/* "$root/bin/$1"
}

install_module() {
  (cd "scripts/go-tools/$1" && go build -mod=readonly -trimpath -ldflags '-s -w' -o "$root/bin/$1" "$2")
}

# Go checks what it downloads against its checksum database.
install_definitions() {
  local name=$1 module path ends end folder
  IFS=: read -r module path ends <<<"$2"
  folder=$(cd "$root" && go mod download -json "$module" | jq -re .Dir)
  rm -rf "${root:?}/definitions/$name"
  mkdir -p "$root/definitions/$name"
  for end in ${ends//+/ }; do cp "$folder/$path"/*"$end.yaml" "$root/definitions/$name/"; done
  chmod -R u+w "$root/definitions/$name"
}

install_python() {
  rm -rf "$root/python"
  python3 -m venv "$root/python"
  "$root/python/bin/pip" install --quiet --no-deps --requirement scripts/chart-requirements.txt
}

for pair in "${programs[@]}"; do
  once "${pair%%=*}" "${pair#*=}" install_program "${pair%%=*}" "${pair#*=}"
done
for pair in "${modules[@]}"; do
  once "${pair%%=*}" "$(sha256sum "scripts/go-tools/${pair%%=*}/go.sum")" install_module "${pair%%=*}" "${pair#*=}"
done
for pair in "${definitions[@]}"; do
  once "definitions-${pair%%=*}" "${pair#*=}" install_definitions "${pair%%=*}" "${pair#*=}"
done
once python "$(sha256sum scripts/chart-requirements.txt)" install_python
