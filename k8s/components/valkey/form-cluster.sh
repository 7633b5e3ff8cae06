#!/bin/sh
# Makes a cluster of the servers, unless they are one already. Can be run again at any time.
set -eu
export REDISCLI_AUTH="$ADMIN_PASSWORD"
cli() { valkey-cli --user admin --no-auth-warning "$@"; }

addresses=
i=0
while [ "$i" -lt "$SERVERS" ]; do
  until address=$(getent hosts "valkey-$i.valkey" | awk '{print $1; exit}') && [ -n "$address" ] &&
    cli -h "$address" ping 2>/dev/null | grep -q PONG; do
    echo "Waiting for valkey-$i …"
    sleep 1
  done
  addresses="$addresses $address:6379"
  i=$((i + 1))
done

if cli -h valkey-0.valkey cluster info | grep -q '^cluster_known_nodes:1[^0-9]*$'; then
  # shellcheck disable=SC2086 # one word for each address
  cli --cluster create $addresses --cluster-replicas "$REPLICAS" --cluster-yes
fi
until cli -h valkey-0.valkey cluster info | grep -q '^cluster_state:ok'; do
  echo "Waiting for the cluster …"
  sleep 1
done
echo "The cluster is there."
