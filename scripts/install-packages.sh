#!/usr/bin/env bash
# Installs the Debian packages whose commands are missing. Says nothing where nothing is missing.
#
#   install-packages.sh           what building and running need
#   install-packages.sh --test    that, and what testing needs, with the servers that tests start
#   install-packages.sh --lint    that of the first, and what linting needs
#   install-packages.sh --observe that of the first, and what looking at dashboards needs
#   install-packages.sh --list    installs nothing; says of each command whether it is there
set -euo pipefail

# command:package
needed=(cc:gcc make:make gpg:gnupg gpgv:gpgv gpgconf:gpgconf gpg-agent:gpg-agent curl:curl jq:jq openssl:openssl)
testing=(pcscd:pcscd scdaemon:scdaemon setpriv:util-linux valkey-check-rdb:valkey-tools valkey-cli:valkey-tools tmux:tmux
  pinentry-curses:pinentry-curses faketime:faketime java:openjdk-17-jre-headless mvn:maven)
linting=(shellcheck:shellcheck)
# Node and a browser, to draw dashboards.
observing=(node:nodejs npm:npm chromium:chromium fc-list:fontconfig valkey-check-rdb:valkey-tools valkey-cli:valkey-tools
  java:openjdk-17-jre-headless mvn:maven)

# Servers that their packages would start, and have started again at each boot. Only their programs are wanted: they are
# unpacked into the cache, so nothing runs that nobody asked for. Whoever uses them looks there after PATH.
unpacked=(promtool:prometheus prometheus:prometheus prometheus-node-exporter:prometheus-node-exporter)
programs=${COUNTERSIGN_CACHE:-$HOME/.cache/countersign}/debian

# Commands of administrators, and programs that only GnuPG runs, are not on everybody's path.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/gnupg:/usr/libexec:/usr/lib/gnupg2:$programs/usr/bin

case ${1:-} in
  --test) needed+=("${testing[@]}" "${unpacked[@]}") ;;
  --observe) needed+=("${observing[@]}" "${unpacked[@]}") ;;
  --lint) needed+=("${linting[@]}") ;;
  --list) needed+=("${testing[@]}" "${linting[@]}" "${observing[@]}" "${unpacked[@]}") ;;
  '') ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2 && exit 64 ;;
esac

missing_commands=()
packages=() to_unpack=()
for pair in cargo: "${needed[@]}"; do
  command=${pair%%:*}
  if path=$(command -v "$command"); then
    [[ ${1:-} != --list ]] || printf '%-12s %s\n' "$command" "$path"
  elif [[ ${1:-} == --list ]]; then
    printf '%-12s missing\n' "$command"
    missing_commands+=("$command")
  elif [[ $command == cargo ]]; then
    echo "cargo is missing. Install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")" \
      "or later, as https://rustup.rs says." >&2
    exit 1
  else
    missing_commands+=("$command")
    if [[ " ${unpacked[*]} " == *" $pair "* ]]; then to_unpack+=("${pair#*:}"); else packages+=("${pair#*:}"); fi
    # Without its recommendations the compiler comes without the C library's headers.
    [[ $command != cc ]] || packages+=(libc6-dev)
  fi
done
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u | sed '/^$/d')
mapfile -t to_unpack < <(printf '%s\n' "${to_unpack[@]}" | sort -u | sed '/^$/d')
[[ ${1:-} != --list ]] || exit $((${#missing_commands[@]} > 0))
((${#packages[@]} + ${#to_unpack[@]} > 0)) || exit 0

as_root=()
if ! command -v apt-get >/dev/null; then
  echo "Missing commands: ${missing_commands[*]}. There is no apt-get here: install them by your system's means." >&2
  exit 1
elif ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "Missing commands: ${missing_commands[*]}. As root, type: $0 ${1:-}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "Installing ${packages[*]} ${to_unpack[*]} …" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
    -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "${packages[@]}" </dev/null >"$log" 2>&1
}
update() { "${as_root[@]}" apt-get update -o Acquire::Retries=3 </dev/null >"$log" 2>&1; }

# Debian 12 has Valkey in its backports only. Their place and key are those of the release itself. Only the tools are
# installed, which hold the server too: the package of that name would start one.
add_backports() {
  [[ " ${packages[*]} " == *" valkey-tools "* ]] || return 0
  [[ $(. /etc/os-release && echo "${VERSION_CODENAME:-}") == bookworm ]] || return 0
  [[ -z $(apt-cache madison valkey-tools 2>/dev/null) ]] || return 0
  local release=/etc/apt/sources.list.d/debian.sources uri key
  uri=$(sed -n 's/^URIs: *//p' "$release" 2>/dev/null | head -n 1)
  key=$(sed -n 's/^Signed-By: *//p' "$release" 2>/dev/null | head -n 1)
  printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\nSigned-By: %s\n' \
    "${uri:-http://deb.debian.org/debian}" "${key:-/usr/share/keyrings/debian-archive-keyring.gpg}" |
    "${as_root[@]}" tee /etc/apt/sources.list.d/bookworm-backports.sources >/dev/null
  update || true
}
add_backports

# Downloads the packages that are not to be installed, and unpacks them.
unpack() {
  ((${#to_unpack[@]} > 0)) || return 0
  mkdir -p "$programs/archives"
  (cd "$programs/archives" && apt-get download "${to_unpack[@]}") </dev/null >"$log" 2>&1 || return 1
  local archive
  for archive in "$programs/archives"/*.deb; do dpkg-deb -x "$archive" "$programs" >"$log" 2>&1 || return 1; done
  rm -rf "$programs/archives"
}
get() { { ((${#packages[@]} == 0)) || install; } && unpack; }

# The lists of packages may be missing or old.
if ! get && ! { update && get; }; then
  tail -n 20 "$log" >&2
  echo "Could not install ${packages[*]} ${to_unpack[*]}." >&2
  exit 1
fi
