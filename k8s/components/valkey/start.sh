#!/bin/sh
# Starts Valkey and makes it known to the others.
set -eu

# A primary that comes back has nothing, and its replica would take over that nothing. So it stays away for as long as the replica
# needs to become primary in its place (cluster-node-timeout, an election, and a margin).
if [ -s /data/nodes.conf ] && grep -q 'myself,master' /data/nodes.conf && grep -q 'slave' /data/nodes.conf; then
  echo "I was a primary: waiting for my replica to take over."
  sleep 12
fi

# After a restart this pod, or all of them, have other addresses. Whoever knows one another is told the new ones by a greeting.
(
  export REDISCLI_AUTH="$ADMIN_PASSWORD"
  until valkey-cli --user admin --no-auth-warning ping 2>/dev/null | grep -q PONG; do sleep 0.5; done
  i=0
  while [ "$i" -lt "$SERVERS" ]; do
    address=$(getent hosts "valkey-$i.valkey" 2>/dev/null | awk '{print $1; exit}') || address=
    # Only those that belong to a cluster already are greeted: a new one is made by form-cluster.sh.
    if [ -n "$address" ] && [ "$address" != "$POD_IP" ] && [ "$(wc -l </data/nodes.conf)" -gt 2 ]; then
      valkey-cli --user admin --no-auth-warning cluster meet "$address" 6379 >/dev/null || true
    fi
    i=$((i + 1))
  done
) &

exec valkey-server /etc/valkey/conf/valkey.conf --cluster-announce-ip "$POD_IP" --maxmemory "$MAXMEMORY" --masterauth "$REPLICA_PASSWORD"
