#!/usr/bin/env bash
# Checks the functions of by-hand.sh that need no service against the fixed cases of protocol/vectors.
# Prints a last line of the same form as cargo test, so that scripts/test.sh can add it up.
set -euo pipefail
cd "$(dirname "$0")/.."

people=$(mktemp --directory /tmp/countersign-people.XXXXXX)
PEOPLE=$people
# shellcheck source-path=SCRIPTDIR source=by-hand.sh
source scripts/by-hand.sh

finish() {
  for home in "$people"/*/; do
    gpgconf --homedir "$(gnupg_home "${home%/}")" --kill gpg-agent >/dev/null 2>&1 || true
    [[ ! -e $home/short-name ]] || rm -r "$(dirname "$(cat "$home/short-name")")"
  done
  rm -rf "$people"
}
trap finish EXIT

passed=0
failed=0

# expect <what> <expected> <actual>
expect() {
  if [[ $2 == "$3" ]]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf '%s: FAILED\n  expected: %s\n    actual: %s\n' "$1" "$2" "$3"
  fi
}

# each <file> <list>: the members of a list, one in a line.
each() { jq --compact-output ".$2[]" "protocol/vectors/$1.json"; }
field() { jq -r "$2 // empty" <<<"$1"; }

bytes=$people/bytes
while read -r message; do
  field "$message" .content_base64 | base64 --decode >"$bytes"
  mapfile -t recipients < <(field "$message" '.recipients[]')
  expect "id of a message" "$(field "$message" .id)" "$(message_id "$(field "$message" .time_ms)" \
    "$(field "$message" .organization)" "$(field "$message" .sender)" "$bytes" "${recipients[@]}")"
done < <(each ids messages)

while read -r receipt; do
  field "$receipt" .signature_base64 | base64 --decode >"$bytes"
  expect "id of a receipt" "$(field "$receipt" .id)" "$(receipt_id "$(field "$receipt" .time_ms)" \
    "$(field "$receipt" .organization)" "$(field "$receipt" .recipient)" "$(field "$receipt" .message)" "$bytes")"
done < <(each ids receipts)

while read -r request; do
  what=$(field "$request" '.method + " " + .target')
  digest=''
  if [[ -n $(field "$request" .body_base64) ]]; then
    field "$request" .body_base64 | base64 --decode >"$bytes"
    digest=$(content_digest "$bytes")
  fi
  expect "digest of $what" "$(field "$request" '.headers["Content-Digest"]')" "$digest"
  parameters=$(field "$request" '.headers["Signature-Input"] | ltrimstr("countersign=")')
  expect "signature of $what" "$(field "$request" .headers.Signature)" \
    "$(signature_base "$(field "$request" .method)" "$(field "$request" .target)" "$parameters" "$digest" |
      request_signature "$(field "$request" .key_base64)")"
  # The fixed cases have the same parameters in another order.
  keyid=${parameters#*keyid=\"}
  keyid=${keyid%%\"*}
  expect "parameters of $what" "$(tr ';' '\n' <<<"$parameters" | sort)" \
    "$(signature_parameters 1795400000 1795400000123456 "$keyid" "$digest" | tr ';' '\n' | sort)"
done < <(each requests requests)

text=$(jq .text protocol/vectors/password.json)
mapfile -t lines < <(jq -r . <<<"$text")
expect "text of a password request" "$text" "$(password_text "${lines[@]:1:4}" | jq --raw-input --slurp .)"

hash=$(jq -r '.hashes[0]' protocol/vectors/log.json)
expect "hash of a statement" "$hash" "$(jq -j '.entries[0].statement' protocol/vectors/log.json | sha256_hex)"

expect "nonce after one from the future" 9999999999999999 "$(nonce 9999999999999998)"
expect "nonce is the time in microseconds" 16 "$(nonce | tr -d '\n' | wc -c)"

new_organization >"$bytes"
new_person carol >"$bytes"
expect "a person has a key to sign with and one to encrypt to" $'scESC\ne' \
  "$(gpg_of carol --list-keys --with-colons | awk -F: '$1 == "pub" || $1 == "sub" {print $12}')"
expect "a signature verifies" Hello \
  "$(echo Hello | gpg_of carol --sign | gpg_of carol --decrypt 2>"$bytes")"
long=carol$(printf -- '-%.0s' {1..80})
new_person "$long" >"$bytes"
expect "a person whose folder has a long name has a key too" "" \
  "$(gpg_of "$long" --detach-sign </dev/null 2>&1 >"$bytes")"
expect "a statement says what it changes" "$(organization) 1 $hash add-user" \
  "$(statement 1 "$hash" '{"kind": "add-user"}' |
    jq -r '"\(.organization) \(.sequence) \(.previous) \(.change.kind)"')"

status=ok
((failed == 0)) || status=FAILED
echo "test result: $status. $passed passed; $failed failed (scripts/by-hand.sh)"
((failed == 0 && passed > 0))
