#!/usr/bin/env bash
# pki.sh FOLDER: the cluster's authorities, certificates and kubeconfigs, new at each start.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=settings.sh
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
cd "$1"
folder=$PWD
server=https://$control_plane:6443

# authority NAME COMMON-NAME
authority() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
  openssl req -x509 -new -key "$1.key" -days 30 -subj "/CN=$2" -out "$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}

# certificate NAME AUTHORITY SUBJECT [ALTERNATIVE-NAMES]
certificate() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
  openssl req -new -key "$1.key" -subj "$3" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days 30 -out "$1.crt" -extfile <(
    echo keyUsage=critical,digitalSignature
    echo extendedKeyUsage=serverAuth,clientAuth
    echo basicConstraints=CA:FALSE
    [[ -z ${4:-} ]] || echo "subjectAltName=$4"
  )
  rm "$1.csr"
}

# user NAME SUBJECT [ALTERNATIVE-NAMES]: a certificate, and the kubeconfig of whoever has it.
user() {
  certificate "$1" ca "$2" "${3:-}"
  cat >"$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: countersign, cluster: {certificate-authority: $folder/ca.crt, server: "$server"}}]
users: [{name: $1, user: {client-certificate: $folder/$1.crt, client-key: $folder/$1.key}}]
contexts: [{name: countersign, context: {cluster: countersign, user: $1}}]
current-context: countersign
YAML
}

authority ca cluster
authority front front-proxy
openssl genrsa -out sa.key 2048
openssl rsa -in sa.key -pubout -out sa.pub
names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost
certificate apiserver ca /CN=kube-apiserver "$names,IP:$control_plane,IP:127.0.0.1,IP:10.96.0.1"
certificate apiserver-kubelet ca /O=system:masters/CN=apiserver-kubelet-client
certificate front-proxy front /CN=front-proxy-client
user admin /O=system:masters/CN=admin
user controller-manager /CN=system:kube-controller-manager
user scheduler /CN=system:kube-scheduler
user proxy /CN=system:kube-proxy
for ((node = 1; node <= nodes; node++)); do
  user "n$node" "/O=system:nodes/CN=system:node:n$node" "DNS:n$node,IP:$(node_address "$node")"
done
