#!/usr/bin/env bash
# Everything that is checked without running anything. Stops at the first failure.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step cargo fmt
cargo fmt --all --check

step shellcheck
shellcheck --external-sources scripts/*.sh bench/valkey/*.sh k8s/*.sh k8s/cluster/*.sh k8s/cluster/go/kubernetes/*.sh k8s/components/*/*.sh .ci/run testing/virtual-card/src/pinentry.sh

step ruff
scripts/peers.sh lint

step cargo clippy
cargo clippy --workspace --all-targets --locked -- -D warnings
# And with what default builds leave out.
cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

step cargo doc
RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

step cargo deny
scripts/deny.sh
