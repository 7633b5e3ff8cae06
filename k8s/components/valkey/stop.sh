#!/bin/sh
# Before a primary ends, a replica takes over, and nobody waits for a timeout.
set -eu
export REDISCLI_AUTH="$ADMIN_PASSWORD"
cli() { valkey-cli --user admin --no-auth-warning "$@"; }
role() { cli role 2>/dev/null | head -n 1 | tr -d '\r'; }

[ "$(role)" = master ] || exit 0
me=$(cli cluster myid | tr -d '\r')
replica=$(cli cluster nodes | awk -v me="$me" '$3 ~ /slave/ && $3 !~ /fail/ && $4 == me {split($2, parts, "@"); print parts[1]; exit}')
[ -n "$replica" ] || exit 0
valkey-cli --user admin --no-auth-warning -h "${replica%:*}" -p "${replica##*:}" cluster failover
i=0
while [ "$(role)" = master ] && [ "$i" -lt 40 ]; do
  sleep 0.25
  i=$((i + 1))
done
