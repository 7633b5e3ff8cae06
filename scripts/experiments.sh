#!/usr/bin/env bash
# Repeats the experiments of docs/load-testing.md on this machine, one after the other, and writes pages, pictures and tables to
# docs/experiments (or to the folder that is given). It takes about half an hour, needs root for control groups, and wants
# the machine for itself.
#
#   EXPERIMENTS   which: scaling1,scaling2,capacity,peers
#   MEASURED      how long each point is measured (30s)
#   PROFILE       how the programs are built (release)
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(realpath -m "${1:-docs/experiments}")
profile=${PROFILE:-release}
measured=${MEASURED:-30s}
cargo build --workspace --bins --locked --profile "$profile"
binaries=${CARGO_TARGET_DIR:-target}/${profile/#dev/debug}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder"

status=0
IFS=, read -ra experiments <<<"${EXPERIMENTS:-scaling1,scaling2,capacity,peers}"
for experiment in "${experiments[@]}"; do
  echo "== $experiment"
  case $experiment in
    scaling1 | scaling2)
      "$binaries/countersign-loadtest" "$experiment" --measured "$measured" --folder "$work/$experiment" || status=1
      ;;
    capacity)
      "$binaries/countersign-loadtest" capacity --measured 12s --folder "$work/$experiment" || status=1
      ;;
    peers)
      scripts/peers.sh install
      "$binaries/countersign-loadtest" peers --seconds 15 --rates 50 --report "$work/$experiment" || status=1
      ;;
    *)
      echo "There is no experiment $experiment." >&2
      exit 64
      ;;
  esac
  # Pages, pictures and tables; the raw figures are large.
  find "$work/$experiment" -maxdepth 1 \( -name '*.html' -o -name '*.md' -o -name '*.svg' \) -exec cp {} "$folder" \; 2>/dev/null || true
done

# An index with the first table of each.
{
  echo "# Experiments"
  echo
  echo "Written by \`make experiments\` ([how, and what it means](../load-testing.md#experiments)) on a machine with $(nproc) processors."
  for name in scaling1 scaling2 capacity peers; do
    [[ -e $folder/$name.md ]] || continue
    printf '\n## %s\n\n' "$(sed -n 's/^# //p' "$folder/$name.md" | head -n 1)"
    awk '/^\|/ { print; seen = 1; next } seen { exit }' "$folder/$name.md"
    if [[ -e $folder/$name.html ]]; then page="[the page]($name.html), "; else page=''; fi
    printf '\n%s[all of it in words and pictures](%s.md)\n' "$page" "$name"
  done
} >"$folder/README.md"
exit "$status"
