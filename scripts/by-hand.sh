# shellcheck shell=bash
# The protocol by hand, with gpg, curl, openssl, jq and coreutils. To be sourced by bash:
#
#     source scripts/by-hand.sh
#
# Each function does what a client does, and no more. The section numbers are those of docs/protocol.md.
#
# What a real client does besides: it keeps the organization's log and checks every entry under the two-man rule, so
# that it need not believe what the service says. Here the service is believed, and fingerprints are shown instead.
# The session key passes through a command line, where other users of the machine can see it. So: for learning only.
#
# People are folders under $PEOPLE: each is a GnuPG home of its own, as if they sat at machines of their own.

PEOPLE=${PEOPLE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/data/demo}
COUNTERSIGN_URL=${COUNTERSIGN_URL:-http://127.0.0.1:8080}

# === Bytes ===

# Hexadecimal digits to bytes, and bytes to lower-case hexadecimal digits.
from_hex() { tr -d '\n-' | tr a-f A-F | basenc --base16 --decode; }
to_hex() { basenc --base16 --wrap=0 | tr A-F a-f; }

sha256_hex() { openssl dgst -sha256 -binary | to_hex; }
sha256_base64() { openssl dgst -sha256 -binary | base64 --wrap=0; }

# A random UUID.
new_id() { cat /proc/sys/kernel/random/uuid; }

# === Section 5.3: nonces ===

# nonce [<last>]: the time in Unix microseconds, or one more than the last nonce where the clock did not move.
nonce() {
  local now last=${1:-0}
  now=$(date +%s%6N)
  echo $((now > last ? now : last + 1))
}

# === Section 6: ids of messages and receipts ===

# A time in Unix milliseconds and a hash in hexadecimal, as a UUIDv8: 6 bytes of time, then the first 10 bytes of the
# hash, over which the version (8) and the variant (binary 10) are written.
uuid8() {
  local digits variant
  digits=$(printf '%012x' "$1")${2:0:20}
  variant=$(printf '%x' $((0x${digits:16:1} & 3 | 8)))
  echo "${digits:0:8}-${digits:8:4}-8${digits:13:3}-$variant${digits:17:3}-${digits:20:12}"
}

# message_id <milliseconds> <organization> <sender> <file with the content> <recipient>...
message_id() {
  local time=$1 organization=$2 sender=$3 content=$4
  shift 4
  uuid8 "$time" "$({
    printf 'countersign 1 message\n'
    printf '%s%s%012x' "$organization" "$sender" "$time" | from_hex
    printf '%s\n' "$@" | LC_ALL=C sort --unique | from_hex
    openssl dgst -sha256 -binary <"$content"
  } | sha256_hex)"
}

# receipt_id <milliseconds> <organization> <recipient> <message> <file with the signature>
receipt_id() {
  local time=$1 organization=$2 recipient=$3 message=$4 signature=$5
  uuid8 "$time" "$({
    printf 'countersign 1 receipt\n'
    printf '%s%s%012x%s' "$organization" "$recipient" "$time" "$message" | from_hex
    openssl dgst -sha256 -binary <"$signature"
  } | sha256_hex)"
}

# === Section 5.2: signed requests (RFC 9421) ===

# content_digest <file>: the Content-Digest header of a body (RFC 9530).
content_digest() { echo "sha-256=:$(sha256_base64 <"$1"):"; }

# signature_parameters <created> <nonce> <keyid> [<content digest>]
signature_parameters() {
  local components='"@method" "@path" "@query"'
  [[ -z ${4:-} ]] || components+=' "content-digest"'
  printf '(%s);created=%s;nonce="%s";keyid="%s";alg="hmac-sha256"' "$components" "$1" "$2" "$3"
}

# signature_base <method> <target> <parameters> [<content digest>]: what the HMAC is computed over.
signature_base() {
  local method=$1 target=$2 parameters=$3 digest=${4:-} path query=''
  path=${target%%\?*}
  [[ $target != *\?* ]] || query=${target#*\?}
  printf '"@method": %s\n"@path": %s\n"@query": ?%s\n' "$method" "$path" "$query"
  [[ -z $digest ]] || printf '"content-digest": %s\n' "$digest"
  printf '"@signature-params": %s' "$parameters"
}

# request_signature <key in base64>: the Signature header for the signature base on standard input.
request_signature() {
  local key
  key=$(base64 --decode <<<"$1" | to_hex)
  echo "countersign=:$(openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64 --wrap=0):"
}

# exchange <curl's arguments>: prints the answer's body; a problem goes to standard error instead.
exchange() {
  local body status
  body=$(mktemp)
  status=$(curl --silent --show-error --output "$body" --write-out '%{http_code}' "$@")
  if [[ $status == 2* ]]; then
    cat "$body"
    rm -f "$body"
  else
    [[ $status == 000 ]] || { echo "The service answered $status:" && jq . "$body"; } >&2
    rm -f "$body"
    return 1
  fi
}

# request <name> <method> <target> [<file with the body> [<media type>]]: sends a request under a session key.
request() {
  local name=$1 method=$2 target=$3 body=${4:-} type=${5:-application/octet-stream}
  local home=$PEOPLE/$name/countersign digest='' parameters signature number
  local arguments=(--request "$method")
  [[ -s $home/key ]] || { echo "$name has no session key: sign_in $name" >&2 && return 1; }
  if [[ -n $body ]]; then
    digest=$(content_digest "$body")
    arguments+=(--data-binary "@$body" --header "Content-Type: $type" --header "Content-Digest: $digest")
  fi
  number=$(nonce "$(cat "$home/nonce")")
  echo "$number" >"$home/nonce"
  parameters=$(signature_parameters "$(date +%s)" "$number" "$(keyid "$name")" "$digest")
  signature=$(signature_base "$method" "$target" "$parameters" "$digest" | request_signature "$(cat "$home/key")")
  exchange "${arguments[@]}" --header "Signature-Input: countersign=$parameters" \
    --header "Signature: $signature" "$COUNTERSIGN_URL$target"
}

# === People ===

# gnupg_home <folder>: prints a name of the folder that is short enough for the sockets in it (107 bytes). GnuPG puts
# them under /run/user where it can; where it cannot, a long folder gets a short symbolic link.
gnupg_home() {
  local folder=$1 link
  if ((${#folder} > 80)); then
    link=$(cat "$folder/short-name" 2>/dev/null)
    if [[ -z $link || ! -O $link || $(readlink "$link") != "$folder" ]]; then
      link=$(mktemp --directory /tmp/countersign.XXXXXX)/gnupg
      ln -s "$folder" "$link"
      echo "$link" >"$folder/short-name"
    fi
    folder=$link
  fi
  echo "$folder"
}

# gpg_of <name> <gpg's arguments>: GnuPG as that person.
gpg_of() {
  local home
  home=$(gnupg_home "$PEOPLE/$1")
  shift
  gpg --homedir "$home" --batch --quiet --no-tty --trust-model always "$@"
}

# new_key <name>: makes a key to sign with and one to encrypt to, without a passphrase: for demonstration only.
new_key() {
  (umask 077 && mkdir -p "$PEOPLE/$1")
  [[ -z $(gpg_of "$1" --list-secret-keys --with-colons) ]] || return 0
  gpg_of "$1" --generate-key <<KEY
%no-protection
Key-Type: eddsa
Key-Curve: ed25519
Key-Usage: sign
Subkey-Type: ecdh
Subkey-Curve: cv25519
Subkey-Usage: encrypt
Name-Real: $1
Name-Comment: demonstration
Expire-Date: 1y
%commit
KEY
}

# new_person <name>: a key, a user id, and the id of the one client that they have here.
new_person() {
  local home=$PEOPLE/$1/countersign
  new_key "$1" || return 1
  mkdir -p "$home"
  [[ -s $home/user ]] || new_id >"$home/user"
  [[ -s $home/client ]] || new_id >"$home/client"
  echo "$1 is user $(user_of "$1")"
}

user_of() { cat "$PEOPLE/$1/countersign/user"; }
client_of() { cat "$PEOPLE/$1/countersign/client"; }
certificate_of() { gpg_of "$1" --armor --export; }

# as_person <name> <command>...: runs a command as if it were typed at that person's machine: with their GnuPG home, and with
# folders of their own for what programs keep, such as the profile of `countersign`.
as_person() {
  local folder=$PEOPLE/$1
  shift
  GNUPGHOME=$(gnupg_home "$folder") XDG_DATA_HOME=$folder/share XDG_CONFIG_HOME=$folder/config "$@"
}

# The organization that all this is about. new_organization chooses another id.
organization() { cat "$PEOPLE/organization"; }
new_organization() {
  mkdir -p "$PEOPLE"
  new_id >"$PEOPLE/organization"
  echo "the organization is $(organization)"
}

keyid() { echo "$(organization)#$(user_of "$1")#$(client_of "$1")"; }

# === Section 5.1: the session key ===

# password_text <organization> <user> <client> <nonce>: the five lines that a user signs.
password_text() { printf 'countersign 1 password\n%s\n%s\n%s\n%s\n' "$@"; }

# sign_in <name>: asks for a session key, decrypts it, and checks that the answer is to this very request.
sign_in() {
  local home=$PEOPLE/$1/countersign number signature answer grant=''
  number=$(nonce "$(cat "$home/password-nonce" 2>/dev/null)")
  echo "$number" >"$home/password-nonce"
  signature=$(password_text "$(organization)" "$(user_of "$1")" "$(client_of "$1")" "$number" |
    gpg_of "$1" --detach-sign | base64 --wrap=0)
  answer=$(mktemp)
  exchange --header "Authorization: OpenPGP nonce=\"$number\", signature=\"$signature\"" \
    "$COUNTERSIGN_URL/$(organization)/$(user_of "$1")/password?client=$(client_of "$1")" >"$answer" &&
    grant=$(gpg_of "$1" --decrypt "$answer")
  rm -f "$answer"
  [[ -n $grant && $(jq -r .nonce <<<"$grant") == "$number" ]] || { echo "$1 got no session key" >&2 && return 1; }
  (umask 077 && jq -r .key <<<"$grant" >"$home/key")
  echo 0 >"$home/nonce"
  echo "$1 has a session key until $(jq -r .expires <<<"$grant")"
}

# === Section 4: statements ===

# statement <sequence> <hash of the statement before, or null> <change in JSON>
statement() {
  jq --null-input --arg organization "$(organization)" --argjson sequence "$1" --arg previous "$2" \
    --arg time "$(date --utc +%Y-%m-%dT%H:%M:%SZ)" --argjson change "$3" \
    '{countersign: 1, $organization, $sequence, previous: (if $previous == "null" then null else $previous end),
      $time, $change}'
}

# submit <method> <target> <statement> <signer>...: shows the statement, lets each signer sign it, and submits it.
submit() {
  local method=$1 target=$2 statement signer body answer
  statement=$(mktemp)
  printf '%s\n' "$3" | tee "$statement" >&2
  body=$(for signer in "${@:4}"; do
    gpg_of "$signer" --armor --detach-sign <"$statement" | jq --raw-input --slurp .
  done | jq --slurp --rawfile statement "$statement" '{$statement, signatures: .}')
  rm -f "$statement"
  answer=$(exchange --request "$method" --header 'Content-Type: application/json' --data-binary @- \
    "$COUNTERSIGN_URL$target" <<<"$body") && jq --compact-output . <<<"$answer"
}

# create_organization <name of its first administrator> <super-administrator> <super-administrator>
create_organization() {
  local change
  change=$(jq --null-input --arg user "$(user_of "$1")" --arg certificate "$(certificate_of "$1")" \
    '{kind: "create-organization", $user, $certificate}')
  submit POST "/$(organization)" "$(statement 0 null "$change")" "${@:2}"
}

# add_user <name> <administrator who signs>...: the first of them asks for the head of the log, so has signed in.
add_user() {
  local change head
  change=$(jq --null-input --arg user "$(user_of "$1")" --arg certificate "$(certificate_of "$1")" \
    '{kind: "add-user", $user, $certificate, administrator: false}')
  head=$(request "$2" GET "/$(organization)?limit=1" | jq .head)
  [[ -n $head ]] || return 1
  submit POST "/$(organization)/$(user_of "$1")" \
    "$(statement $(($(jq .sequence <<<"$head") + 1)) "$(jq -r .hash <<<"$head")" "$change")" "${@:2}"
}

# === Section 6: messages ===

# learn_certificate <name> <other>: stores the other's certificate as the log has it, and prints the file's name.
learn_certificate() {
  local file=$PEOPLE/$1/countersign/certificate-of-$2 log certificate
  log=$(request "$1" GET "/$(organization)/log") || return 1
  certificate=$(jq -r --arg user "$(user_of "$2")" \
    '[.entries[].statement | fromjson.change | select(.user == $user).certificate // empty] | last // empty' <<<"$log")
  [[ -n $certificate ]] || { echo "the log has no certificate of $2" >&2 && return 1; }
  gpg_of "$1" --dearmor <<<"$certificate" >"$file"
  echo "$2 has the fingerprint $(gpg_of "$1" --show-keys --with-colons "$file" |
    awk -F: '$1 == "fpr" {print $10; exit}')" >&2
  echo "$file"
}

# send_message <sender> <file> <recipient>...: signs, encrypts and sends a file, and prints the message's id.
send_message() {
  local sender=$1 file=$2 sent=$PEOPLE/$1/countersign/sent
  local recipient certificate time id query answer encrypt_to=() users=()
  shift 2
  for recipient in "$@"; do
    certificate=$(learn_certificate "$sender" "$recipient") || return 1
    encrypt_to+=(--recipient-file "$certificate")
    users+=("$(user_of "$recipient")")
  done
  mkdir -p "$sent"
  gpg_of "$sender" --yes --sign --encrypt "${encrypt_to[@]}" --output "$sent/next" "$file" || return 1
  time=$(date +%s%3N)
  id=$(message_id "$time" "$(organization)" "$(user_of "$sender")" "$sent/next" "${users[@]}")
  mv "$sent/next" "$sent/$id"
  query="id=$id$(printf '&to=%s' "${users[@]}")"
  answer=$(request "$sender" POST "/$(organization)/$(user_of "$sender")/message?$query" "$sent/$id") &&
    jq -r .id <<<"$answer"
}

# list_messages <name>: a line for each new item: id, kind, size, sender, and of a receipt the message that it is of.
list_messages() {
  local listing
  listing=$(request "$1" GET "/$(organization)/$(user_of "$1")/message") &&
    jq -r '.messages[] | [.id, .kind, .size, .from, .of // empty] | join(" ")' <<<"$listing"
}

# fetch_message <name> <id>: stores the content of a message or receipt, and prints the file's name.
fetch_message() {
  local received=$PEOPLE/$1/countersign/received
  mkdir -p "$received"
  request "$1" GET "/$(organization)/$(user_of "$1")/message/$2" >"$received/$2" && echo "$received/$2"
}

# read_message <name> <id> <sender>: fetches, decrypts and prints a message. GnuPG says whose signature is in it.
read_message() {
  local certificate file
  certificate=$(learn_certificate "$1" "$3") && file=$(fetch_message "$1" "$2") &&
    gpg_of "$1" --keyring "$certificate" --decrypt "$file"
}

# confirm_messages <name> <id>...: this client now holds them.
confirm_messages() {
  local body=$PEOPLE/$1/countersign/confirmation
  jq --null-input '{messages: $ARGS.positional}' --args "${@:2}" >"$body"
  request "$1" POST "/$(organization)/$(user_of "$1")/client/$(client_of "$1")/fetched" "$body" application/json
}

# receipt_text <organization> <sender> <recipient> <message> <SHA-256 of the content>: the six lines of a receipt.
receipt_text() { printf 'countersign 1 receipt\n%s\n%s\n%s\n%s\n%s\n' "$@"; }

# acknowledge_message <name> <id> <sender>: signs a receipt for a fetched message and sends it to the message's sender.
acknowledge_message() {
  local content=$PEOPLE/$1/countersign/received/$2 signature=$PEOPLE/$1/countersign/receipt id
  receipt_text "$(organization)" "$(user_of "$3")" "$(user_of "$1")" "$2" "$(sha256_hex <"$content")" |
    gpg_of "$1" --detach-sign >"$signature" || return 1
  id=$(receipt_id "$(date +%s%3N)" "$(organization)" "$(user_of "$1")" "$2" "$signature")
  request "$1" PUT "/$(organization)/$(user_of "$1")/message/$2?receipt=$id" "$signature"
}

# check_receipt <name> <receipt> <message> <recipient>: fetches a receipt and verifies the recipient's signature.
check_receipt() {
  local content=$PEOPLE/$1/countersign/sent/$3 certificate file
  certificate=$(learn_certificate "$1" "$4") && file=$(fetch_message "$1" "$2") || return 1
  receipt_text "$(organization)" "$(user_of "$1")" "$(user_of "$4")" "$3" "$(sha256_hex <"$content")" |
    gpgv --keyring "$certificate" "$file" -
}
