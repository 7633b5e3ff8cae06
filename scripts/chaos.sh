#!/usr/bin/env bash
# Runs the ledger over three pods, three CQL nodes and a Valkey cluster of six while faults are done to all of them
# (docs/ledger.md). The report is written to data/chaos. Exit codes: countersign-loadtest --help.
#
#   SEED      decides the faults; drawn where it is not set
#   MINUTES   how long faults are done (3)
#   RATE      messages a second (10)
#   PROFILE   how the programs are built (release)
#
# Arguments are handed to `countersign-loadtest chaos`, such as: --store embedded, --plan.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${PROFILE:-release}
cargo build --workspace --bins --locked --profile "$profile"
folder=${CARGO_TARGET_DIR:-target}/${profile/#dev/debug}
SEED=${SEED:-$((RANDOM * 32768 + RANDOM))} exec "$folder/countersign-loadtest" chaos \
  --duration "${MINUTES:-3}min" --rate "${RATE:-10}" "$@"
