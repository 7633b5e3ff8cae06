#!/usr/bin/env bash
# Everything that is checked without running anything. Stops at the first failure.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step cargo fmt
cargo fmt --all --check

step shellcheck
shellcheck --external-sources scripts/*.sh bench/valkey/*.sh .ci/run testing/virtual-card/src/pinentry.sh

step cargo clippy
cargo clippy --workspace --all-targets --locked -- -D warnings

step cargo doc
RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

step cargo deny
scripts/deny.sh
