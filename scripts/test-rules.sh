#!/usr/bin/env bash
# Checks Prometheus' rules and runs their unit tests. Its last line counts the tests as cargo's do.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
PATH=$PATH:${COUNTERSIGN_CACHE:-$HOME/.cache/countersign}/debian/usr/bin

tests=$(cat prometheus/tests/*.yaml | grep -c '^  - name: ')
if promtool check rules prometheus/rules/*.yaml && promtool test rules prometheus/tests/*.yaml; then
  echo "test result: ok. $tests passed; 0 failed; (rules)"
else
  echo "test result: FAILED. 0 passed; 1 failed; (rules)"
  exit 1
fi
