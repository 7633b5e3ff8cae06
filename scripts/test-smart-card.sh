#!/usr/bin/env bash
# Uses the service with a key on a smart card, step by step with the functions of by-hand.sh: password, statement, send,
# read and receipt. The card is a virtual one (testing/virtual-card); GnuPG and all that it runs are the real ones.
# Needs COUNTERSIGND and COUNTERSIGN_VIRTUAL_CARD, or target/debug/countersignd and countersign-virtual-card.
set -euo pipefail
cd "$(dirname "$0")/.."
virtual_card=$(realpath "${COUNTERSIGN_VIRTUAL_CARD:-${CARGO_TARGET_DIR:-target}/debug/countersign-virtual-card}")

# The script runs itself once more, with a card in the reader.
[[ ${1:-} == --with-card ]] || exec "$virtual_card" run scripts/test-smart-card.sh --with-card

# shellcheck source-path=SCRIPTDIR source=service-for-tests.sh
source scripts/service-for-tests.sh
start_service
cd "$copy"
# shellcheck source-path=SCRIPTDIR source=by-hand.sh
source scripts/by-hand.sh
PEOPLE=$copy/data/demo
home=$PEOPLE/alice
export LC_ALL=C.UTF-8
exec >"$copy/people.log" 2>&1

# card_says <field>: a field of `gpg --card-status`.
card_says() { gpg_of alice --card-status | sed -n "s/^$1 *\.*: *//p"; }
# signatures: how many the card has made, as it counts itself.
signatures() { card_says 'Signature counter'; }

# expect <what> <expected> <actual>
expect() { [[ $2 == "$3" ]] || fail "$1: expected $2, and there is $3"; }

new_organization
new_person alice
new_person bob

# What a person does who gets a card: `gpg --edit-key`, keytocard for the key and for the subkey, save.
gpgconf --homedir "$(gnupg_home "$home")" --kill all
"$virtual_card" configure "$home"
printf '%s\n' keytocard y 1 'key 1' keytocard 2 save |
  gpg --homedir "$(gnupg_home "$home")" --no-tty --command-fd 0 --edit-key alice
expect "secret keys on the disk" "" "$(grep --recursive --files-without-match shadowed-private-key "$home/private-keys-v1.d")"
expect "signatures of a new key" 0 "$(signatures)"

create_organization alice super1 super2 || fail "the organization was not created"
echo 654321 >"$home/pin"
! sign_in alice || fail "a wrong PIN was taken"
expect "tries left after a wrong PIN" "2 0 3" "$(card_says 'PIN retry counter')"
echo 123456 >"$home/pin"

sign_in alice || fail "the password request failed"
expect "signatures after the password request" 1 "$(signatures)"
add_user bob alice || fail "the statement was refused"
expect "signatures after the statement" 2 "$(signatures)"
sign_in bob

echo "The meeting is at noon." >letter
sent=$(send_message alice letter bob) || fail "the message was not sent"
expect "signatures after the message" 3 "$(signatures)"
expect "what Bob reads" "The meeting is at noon." "$(read_message bob "$sent" alice)"

echo "I shall be there." >answer
answer=$(send_message bob answer alice) || fail "the answer was not sent"
expect "what Alice reads" "I shall be there." "$(read_message alice "$answer" bob)"
acknowledge_message alice "$answer" bob || fail "the receipt was not sent"
expect "signatures after the receipt" 4 "$(signatures)"
receipt=$(list_messages bob | awk '$2 == "receipt" {print $1}')
check_receipt bob "$receipt" "$answer" alice || fail "the receipt does not verify"

# Once to sign and once to decrypt, and once the wrong one: GnuPG asked nothing else of Alice since the key was moved.
expect "PINs that Alice typed" 3 "$(grep -c '^PIN.*unlock the card' "$home/asked")"
expect "other questions to Alice" 0 "$(grep -vc '^PIN' "$home/asked" || true)"
echo "test result: ok. 1 passed; 0 failed; scripts/test-smart-card.sh" >&3
