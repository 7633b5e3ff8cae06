# shellcheck shell=bash
# A built service in a folder of its own, and the people in it. To be sourced by the tests that follow a text or use
# by-hand.sh. Needs COUNTERSIGND, or target/debug/countersignd.

binary=$(realpath "${COUNTERSIGND:-${CARGO_TARGET_DIR:-target}/debug/countersignd}")
copy=$(mktemp -d)
service=
# Where a test may say something, whatever it does with its output.
exec 3>&1 4>&2

# Stops the service and the agents of all people, which would outlive their folders, and removes the folder.
finish() {
  if [[ -n $service ]]; then
    kill -INT "$service" 2>/dev/null || true
    wait "$service" || true
  fi
  for home in "$copy"/data/demo/*/; do
    [[ -d $home ]] || continue
    (
      cd "$copy"
      # shellcheck disable=SC2034 # by-hand.sh reads it
      PEOPLE=$copy/data/demo
      # shellcheck source-path=SCRIPTDIR source=by-hand.sh
      source scripts/by-hand.sh
      gpgconf --homedir "$(gnupg_home "${home%/}")" --kill all
    ) >/dev/null 2>&1 || true
  done
  rm -rf "$copy"
}
trap finish EXIT

# fail <why>: shows the logs and ends the test.
fail() {
  echo "$1" >&4
  tail -n 40 "$copy"/*.log >&4 2>/dev/null || true
  echo "test result: FAILED. 0 passed; 1 failed; ($0)" >&3
  exit 1
}

# start_service: starts it as `make run` does, on free ports, and sets COUNTERSIGN_URL.
start_service() {
  local address=''
  cp -r scripts "$copy/"
  # exec, so that the number is the service's own.
  (cd "$copy" && COUNTERSIGND=$binary COUNTERSIGN_LISTEN=127.0.0.1:0 COUNTERSIGN_ADMIN_LISTEN=127.0.0.1:0 \
    COUNTERSIGN_LOG_FORMAT=json exec scripts/run.sh >"$copy/service.log" 2>&1) &
  service=$!
  for _ in $(seq 600); do
    address=$(jq --raw-input --raw-output 'fromjson? | select(.message == "listening") | .public' "$copy/service.log")
    [[ -z $address ]] || break
    kill -0 "$service" 2>/dev/null || fail "the service did not start"
    read -r -t 0.1 <> <(:) || true
  done
  [[ -n $address ]] || fail "the service did not say where it listens"
  # shellcheck disable=SC2031 # the subshell in finish has its own
  export COUNTERSIGN_URL=http://$address
}
