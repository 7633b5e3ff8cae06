#!/usr/bin/env bash
# write-mod.sh v1.X.Y: writes go.mod anew for that version of Kubernetes. The module of Kubernetes replaces its own parts by
# folders that its archive does not have; here they are replaced by what was published of them, v0.X.Y.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
version=${1:?a version, such as v1.34.4}
parts=v0.${version#v1.}
theirs=$(go mod download -json "k8s.io/kubernetes@$version" | jq -re .GoMod)
{
  printf 'module countersign.invalid/kubernetes\n\n'
  grep -E '^(go|godebug) ' "$theirs" | head -n 2
  printf '\nrequire k8s.io/kubernetes %s\n\nreplace (\n' "$version"
  awk '/=> .\/staging/ {print $1}' "$theirs" | while read -r module; do
    printf '\t%s => %s %s\n' "$module" "$module" "$parts"
  done
  echo ')'
} >go.mod
go mod tidy
