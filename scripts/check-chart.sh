#!/usr/bin/env bash
# Checks the chart and the examples in k8s/: what is generated, helm-unittest's suites, and everything that charts/tests asks of rendered
# manifests. Its last lines count tests as cargo's do. COUNTERSIGND is the service that reads the rendered settings,
# COUNTERSIGN_LOADTEST the load tester; without them, those that were built last.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

scripts/install-chart-tools.sh || exit 1
tools=${COUNTERSIGN_CACHE:-$HOME/.cache/countersign}/chart-tools
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0

# number <lines> <word>: the number before the word in the last of the lines that begin so.
number() { grep -E "$1" "$log" | tail -n 1 | grep -oE "[0-9]+ $2" | cut -d' ' -f1; }

# result <name> <passed> <failed> <exit code>: one line, as cargo's tests end.
result() {
  local word=ok
  if (($4 != 0)); then word=FAILED status=1; fi
  echo "test result: $word. ${2:-0} passed; ${3:-0} failed; ($1)"
}

"$tools/bin/helm-unittest" --strict charts/countersign 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
result 'chart: helm-unittest' "$(number '^Tests:' passed)" "$(number '^Tests:' failed)" "$code"

"$tools/python/bin/python" -m pytest --quiet --color=no -p no:cacheprovider --numprocesses=2 charts/tests 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
result 'chart: manifests' "$(number ' in [0-9.]+s' passed)" "$(number ' in [0-9.]+s' failed)" "$code"
exit "$status"
