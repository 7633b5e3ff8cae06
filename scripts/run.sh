#!/usr/bin/env bash
# Runs the service on this machine, with the embedded store in ./data. Settings are environment variables:
#
#   COUNTERSIGN_LISTEN                public listener (127.0.0.1:8080)
#   COUNTERSIGN_ADMIN_LISTEN          administrative listener (127.0.0.1:9090)
#   COUNTERSIGN_STORE                 what must last (embedded:./data/store)
#   COUNTERSIGN_EPHEMERAL             what may vanish (local)
#   COUNTERSIGN_SUPER_ADMINISTRATORS  armored certificates of those who may create organizations; where it is not
#                                     set, two are made for demonstration (./data/super-administrators.asc)
#   COUNTERSIGN_DRAIN_DELAY           how long to serve on after Ctrl-C (0s)
#
# docs/configuration.md has the others. Arguments are handed to `countersignd serve`.
set -euo pipefail
cd "$(dirname "$0")/.."

binary=${COUNTERSIGND:-${CARGO_TARGET_DIR:-target}/release/countersignd}
if [[ ! -x $binary ]]; then
  echo "There is no $binary. Build and run it with: make run" >&2
  exit 1
fi

export COUNTERSIGN_LISTEN=${COUNTERSIGN_LISTEN:-127.0.0.1:8080}
export COUNTERSIGN_ADMIN_LISTEN=${COUNTERSIGN_ADMIN_LISTEN:-127.0.0.1:9090}
export COUNTERSIGN_STORE=${COUNTERSIGN_STORE:-embedded:./data/store}
export COUNTERSIGN_EPHEMERAL=${COUNTERSIGN_EPHEMERAL:-local}
# No load balancer has to notice that the service stops.
export COUNTERSIGN_DRAIN_DELAY=${COUNTERSIGN_DRAIN_DELAY:-0s}
mkdir -p data

if [[ -z ${COUNTERSIGN_SUPER_ADMINISTRATORS:-} ]]; then
  export COUNTERSIGN_SUPER_ADMINISTRATORS=./data/super-administrators.asc
  if [[ ! -s $COUNTERSIGN_SUPER_ADMINISTRATORS ]]; then
    PEOPLE=$PWD/data/demo
    # shellcheck source-path=SCRIPTDIR source=by-hand.sh
    source scripts/by-hand.sh
    for name in super1 super2; do
      new_key "$name"
      certificate_of "$name"
      gpgconf --homedir "$(gnupg_home "$PEOPLE/$name")" --kill gpg-agent
    done >"$COUNTERSIGN_SUPER_ADMINISTRATORS.new"
    mv "$COUNTERSIGN_SUPER_ADMINISTRATORS.new" "$COUNTERSIGN_SUPER_ADMINISTRATORS"
  fi
  if [[ -d data/demo/super1 ]]; then
    cat >&2 <<'NOTE'

  ############################################################################
  #                                                                          #
  #   FOR DEMONSTRATION ONLY. The two super-administrators were made by      #
  #   this script. Their secret keys lie unprotected in data/demo: whoever   #
  #   reads them can create organizations. Never use them for real.          #
  #                                                                          #
  ############################################################################

  To go on, open a second terminal in this folder and type, in bash:

      source scripts/by-hand.sh
      new_organization
      new_person alice
      create_organization alice super1 super2
      sign_in alice

  README.md continues from there. To stop the service, type Ctrl-C here.

NOTE
  fi
fi

exec "$binary" serve "$@"
