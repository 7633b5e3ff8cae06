#!/usr/bin/env bash
# Runs the tests that are too heavy for every run: three pods over a cluster of three CQL nodes, with faults of each
# kind. Their ephemeral state is a cluster of six Valkey servers, or what COUNTERSIGN_TEST_EPHEMERAL says.
set -euo pipefail
cd "$(dirname "$0")/.."

# The cluster is the test's own, since nodes are stopped; CQL_HEAP sizes them.
unset COUNTERSIGN_TEST_CQL
export COUNTERSIGN_TEST_EPHEMERAL="${COUNTERSIGN_TEST_EPHEMERAL:-valkey-cluster}"
cargo test --workspace --all-features --locked --test end_to_end "$@" -- --ignored --nocapture cluster </dev/null
