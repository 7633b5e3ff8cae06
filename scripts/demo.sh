#!/usr/bin/env bash
# Shows what Countersign does, with the real service, the real client, and a server that lies. Needs built programs:
# COUNTERSIGN_PROGRAMS, or target/debug. Everything happens in a folder that is gone afterwards.
#
#   demo.sh            prints what happens
#   demo.sh --write    and puts it into README.md
#   demo.sh --check    compares it with README.md, but for ids, times and addresses
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:-}
case $mode in '' | --write | --check) ;; *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2 && exit 64 ;; esac
programs=$(realpath "${COUNTERSIGN_PROGRAMS:-${CARGO_TARGET_DIR:-target}/debug}")
service_program=${COUNTERSIGND:-$programs/countersignd}
for program in "$service_program" "$programs/countersign" "$programs/examples/lying_server"; do
  [[ -x $program ]] || { echo "There is no $program. Build it with: make demo" >&2 && exit 1; }
done

# Short, since agents' sockets are in it.
folder=$(mktemp --directory /tmp/cs.XXXXXX)
processes=()
finish() {
  for process in "${processes[@]}"; do
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  for home in "$folder"/*/gnupg; do gpgconf --homedir "$home" --kill all >/dev/null 2>&1 || true; done
  rm -rf "$folder"
}
trap finish EXIT
fail() {
  echo "demo.sh: $1" >&2
  tail -n 20 "$folder"/*.log >&2 || true
  echo "test result: FAILED. 0 passed; 1 failed; scripts/demo.sh"
  exit 1
}

# === People ===

# person <name> <algorithm> <algorithm of the encryption key>: a device with a GnuPG home, and a key without a pass phrase.
person() {
  local home=$folder/$1/gnupg name=${1^} id
  mkdir "$folder/$1" && mkdir -m 700 "$home"
  id="$name <$1@example.org>"
  gpg_of "$1" --passphrase '' --quick-generate-key "$id" "$2" cert,sign 1y
  gpg_of "$1" --passphrase '' --quick-add-key \
    "$(gpg_of "$1" --with-colons --list-keys | awk -F: '$1 == "fpr" {print $10; exit}')" "$3" encr 1y
  gpg_of "$1" --armor --export >"$folder/$1.asc"
}
gpg_of() { gpg --homedir "$folder/$1/gnupg" --batch --quiet --no-tty --yes "${@:2}" 2>>"$folder/gpg.log"; }

# as <device> <arguments>: the client at somebody's device.
as() {
  (cd "$folder" && env -i PATH="$PATH" HOME="$folder/$1" GNUPGHOME="$folder/${1%-*}/gnupg" "$programs/countersign" "${@:2}")
}

# === The transcript ===

transcript=$folder/transcript
say() { printf '\n# %s\n' "$*" | tee -a "$transcript"; }

# show <device> <expected exit code> <arguments>: runs the client, and writes what was typed and what came of it.
show() {
  local device=$1 expected=$2 code=0
  shift 2
  printf '%s$ countersign%s\n' "$device" "$(printf ' %s' "${@@Q}" | sed "s/'\([A-Za-z0-9_.:/@-]*\)'/\1/g")" | tee -a "$transcript"
  as "$device" "$@" >"$folder/said" 2>&1 || code=$?
  tee -a "$transcript" <"$folder/said"
  [[ $code == 0 ]] || printf '(exit code %s)\n' "$code" | tee -a "$transcript"
  [[ $code == "$expected" ]] || fail "$device: countersign $*: exit code $code, not $expected"
}

# await <file> <awk program>: waits until it prints something.
await() {
  local found=
  for _ in $(seq 600); do
    found=$(awk "$2" "$1" 2>/dev/null)
    [[ -z $found ]] || break
    read -r -t 0.1 <> <(:) || true
  done
  [[ -n $found ]] || fail "waited in vain for $1"
  echo "$found"
}

lie() { printf '%s' "$1" >"$folder/lie.new" && mv "$folder/lie.new" "$folder/lies/lie"; }
id_of() { as alice --json user show "$1" | jq -r .user; }

# === What happens ===

echo "Making keys, and starting the service …" >&2
for name in sam sue alice carol mallory; do person "$name" ed25519 cv25519; done
person bob rsa3072 rsa3072
cat "$folder/sam.asc" "$folder/sue.asc" >"$folder/supers.asc"

(cd "$folder" && COUNTERSIGN_LISTEN=127.0.0.1:0 COUNTERSIGN_ADMIN_LISTEN=127.0.0.1:0 COUNTERSIGN_LOG_FORMAT=json \
  COUNTERSIGN_STORE="embedded:$folder/store" COUNTERSIGN_DRAIN_DELAY=0s COUNTERSIGN_SUPER_ADMINISTRATORS="$folder/supers.asc" \
  exec "$service_program" serve >"$folder/service.log" 2>&1) &
processes+=($!)
# shellcheck disable=SC2016 # awk's own
address=$(await "$folder/service.log" '/"listening"/ {match($0, /"public":"[^"]*"/); print substr($0, RSTART + 10, RLENGTH - 11); exit}')

# Everyone talks to a server that may lie; it is honest at first.
mkdir "$folder/lies" && ln -s "$folder/mallory/gnupg" "$folder/lies/mallory" && lie ''
"$programs/examples/lying_server" "http://$address" "$folder/lies" >"$folder/lying.log" 2>&1 &
processes+=($!)
# shellcheck disable=SC2016 # awk's own
server=http://$(await "$folder/lying.log" '/^listening/ {print $2; exit}')

say "Sam and Sue, the super-administrators, create an organization, each at their own machine."
show sam 0 organization create --server "$server" --super-administrators supers.asc --administrator alice.asc --output acme.change
as sue --json organization create --server "$server" --super-administrators supers.asc --draft acme.change |
  jq -r .invitation >"$folder/invitation-alice"
show alice 0 join invitation-alice

say "Alice is its one administrator. She adds Bob and Carol, and invites them: a text, or a QR code."
show alice 0 user add bob.asc
as alice user add carol.asc >/dev/null 2>&1
as alice invite bob --text >"$folder/invitation-bob"
as alice invite carol --picture "$folder/carol.png" >/dev/null
show bob 0 join invitation-bob
show carol 0 join --qr carol.png

say "Bob becomes an administrator. From now on two must sign: one drafts, the other reads it in words and countersigns."
as alice user update bob --administrator yes >/dev/null 2>&1
show alice 0 user update carol --client-limit 9 --request bob
show bob 0 inbox
show bob 0 change show 1
show bob 0 change sign 1 --yes --submit

say "Messages both ways, with signed receipts. What travels is signed and encrypted by GnuPG's keys."
show alice 0 send bob carol -m "The meeting is at noon."
show bob 0 inbox
show bob 0 send alice -m "I will be there."
show alice 0 receipts

say "A file of 2 MB goes in parts, and arrives whole."
head -c 2000000 /dev/urandom >"$folder/plan.pdf"
show alice 0 send carol --file plan.pdf
show carol 0 inbox
show carol 0 read 2 --output received.pdf
cmp "$folder/plan.pdf" "$folder/received.pdf" || fail "the file did not arrive whole"

say "Bob's second device sees all of it, what he sent too."
as alice invite bob --text >"$folder/invitation-bob"
as bob-laptop join invitation-bob >/dev/null 2>&1
show bob-laptop 0 inbox --all

say "Now the server lies. It takes back the last change:"
lie rollback
show carol 76 inbox
say "It shows a log with another last entry:"
lie fork
show carol 76 inbox
say "It makes Mallory an administrator:"
lie forge-change
show carol 76 inbox
say "It gives a user Mallory's certificate in its listing:"
lie ''
lie "swap-certificate $(id_of bob)"
show carol 76 user list
lie ''
as alice send bob -m "For Bob alone." >/dev/null 2>&1
say "It hands Carol a message that was written to somebody else:"
lie "readdress $(id_of carol)"
show carol 76 inbox
lie ''
as bob send carol -m "Trust no server." >/dev/null 2>&1
say "It alters a message:"
lie alter
show carol 76 inbox
say "Honest again: nothing was lost, and the evidence is kept."
lie ''
show carol 0 inbox
show carol 0 evidence

# === What becomes of it ===

# Ids, fingerprints, times, sizes of what is random, and addresses differ each time.
shape() {
  sed -E 's/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/<id>/g; s/\b[0-9A-Fa-f]{40,64}\b/<hash>/g;
    s/[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+Z?/<time>/g; s/127\.0\.0\.1:[0-9]+/<address>/g; s/[[:space:]]+$//'
}
case $mode in
  --write)
    awk -v transcript="$transcript" '/<!-- demo -->/ {print; print "```console"; while ((getline line < transcript) > 0)
      if (line != "" || begun) {print line; begun = 1}; print "```"; inside = 1}
      /<!-- \/demo -->/ {inside = 0} !inside && !/<!-- demo -->/' README.md >"$folder/README.md"
    cp "$folder/README.md" README.md
    echo "README.md has it." >&2
    ;;
  --check)
    awk '/<!-- demo -->/ {inside = 1; next} /<!-- \/demo -->/ {inside = 0} inside && !/^```/' README.md | shape >"$folder/readme"
    sed '1{/^$/d}' "$transcript" | shape >"$folder/now"
    diff "$folder/readme" "$folder/now" || fail "README.md shows another transcript; renew it with: make demo"
    echo "test result: ok. 1 passed; 0 failed; scripts/demo.sh"
    ;;
esac
