#!/usr/bin/env bash
# Writes the Secrets of Valkey, with new passwords, for the overlay `ha`:
#
#   k8s/valkey-secrets.sh countersign | kubectl apply -f -
#
# valkey-users is for the servers, countersign-valkey for the service. Run again, it makes other passwords: servers and service must then
# be restarted together.
set -euo pipefail

namespace=${1:?"the namespace is missing: $0 countersign"}
password() { openssl rand -hex 32; }
hashed() { printf %s "$1" | openssl dgst -sha256 -r | cut -d' ' -f1; }
admin=$(password) replica=$(password) service=$(password)

# What the service may do is what docs/valkey.md says.
permissions=$(sed -n 's/^ACL SETUSER countersign on >… //p' "$(dirname "$0")/../docs/valkey.md")
[[ -n $permissions ]] || { echo "docs/valkey.md does not say what the service may do." >&2 && exit 1; }

cat <<YAML
apiVersion: v1
kind: Secret
metadata:
  name: valkey-users
  namespace: $namespace
stringData:
  admin-password: $admin
  replica-password: $replica
  users.acl: |
    user default off
    user admin on #$(hashed "$admin") ~* &* +@all
    user replica on #$(hashed "$replica") resetkeys resetchannels -@all +psync +replconf +ping
    user countersign on #$(hashed "$service") $permissions
---
apiVersion: v1
kind: Secret
metadata:
  name: countersign-valkey
  namespace: $namespace
stringData:
  password: $service
YAML
