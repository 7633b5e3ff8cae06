#!/usr/bin/env bash
# Runs the tests that are too heavy for every run: three pods over a cluster of three CQL nodes, with faults of each
# kind. Their ephemeral state is what COUNTERSIGN_TEST_EPHEMERAL says, as in the end-to-end suite.
set -euo pipefail
cd "$(dirname "$0")/.."

# The cluster is the test's own, since nodes are stopped; CQL_HEAP sizes them.
unset COUNTERSIGN_TEST_CQL
cargo test --locked -p countersign-service --test end_to_end "$@" -- --ignored --nocapture cluster:: </dev/null
