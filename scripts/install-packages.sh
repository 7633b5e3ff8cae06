#!/usr/bin/env bash
# Installs the Debian packages whose commands are missing. Says nothing where nothing is missing.
#
#   install-packages.sh           what building and running need
#   install-packages.sh --test    that, and what testing needs, with the servers that tests start
#   install-packages.sh --lint    that of the first, and what linting needs
#   install-packages.sh --observe that of the first, and what looking at dashboards needs
#   install-packages.sh --image   that of the first, and what building images needs
#   install-packages.sh --chart   that of the first, and what checking the chart needs
#   install-packages.sh --peers   that of the first, and the stores of the servers that Countersign is measured beside
#   install-packages.sh --kubernetes  that of the first, and what the Kubernetes of tests needs
#   install-packages.sh --list    installs nothing; says of each command whether it is there
set -euo pipefail

# command:package
needed=(cc:gcc make:make gpg:gnupg gpgv:gpgv gpgconf:gpgconf gpg-agent:gpg-agent curl:curl jq:jq openssl:openssl)
testing=(pcscd:pcscd scdaemon:scdaemon setpriv:util-linux valkey-check-rdb:valkey-tools valkey-cli:valkey-tools tmux:tmux
  pinentry-curses:pinentry-curses faketime:faketime java:openjdk-17-jre-headless mvn:maven
  mariadbd:mariadb-server-core mariadb-install-db:mariadb-server-core my_print_defaults:mariadb-client-core)
linting=(shellcheck:shellcheck)
# A C compiler for static programs, and what strips them.
imaging=(musl-gcc:musl-tools python3:python3 pip3:python3-pip objcopy:binutils git:git)
# Go builds Helm and its like; Debian 12 has a Go that is new enough in its backports only.
charting=(go:golang-1.23-go python3:python3 jq:jq)
# Node and a browser, to draw dashboards.
observing=(node:nodejs npm:npm chromium:chromium fc-list:fontconfig valkey-check-rdb:valkey-tools valkey-cli:valkey-tools
  java:openjdk-17-jre-headless mvn:maven)

# The servers that Countersign is measured beside (peers.sh). Of MariaDB the package without anything that would start it.
peers=(mariadbd:mariadb-server-core python3:python3 pg_config:libpq-dev valkey-check-rdb:valkey-tools valkey-cli:valkey-tools
  initdb:postgresql setpriv:util-linux)

# Servers that their packages would start, and have started again at each boot. Only their programs are wanted: they are
# unpacked into the cache, so nothing runs that nobody asked for. Whoever uses them looks there after PATH.
unpacked=(promtool:prometheus prometheus:prometheus prometheus-node-exporter:prometheus-node-exporter)
# What runs containers on the nodes of the tests' Kubernetes, and what that and its builds need.
running=(containerd:containerd runc:runc host-local:containernetworking-plugins)
clustering=(go:golang-1.23-go python3:python3 jq:jq nft:nftables iptables:iptables conntrack:conntrack ip:iproute2
  unshare:util-linux nsenter:util-linux pgrep:procps sysctl:procps)
programs=${COUNTERSIGN_CACHE:-$HOME/.cache/countersign}/debian

# Commands of administrators, and programs that only GnuPG runs, are not on everybody's path.
PATH=$PATH:/usr/lib/go-1.23/bin:/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/gnupg:/usr/libexec:/usr/lib/gnupg2
PATH=$PATH:$programs/usr/bin:$programs/usr/sbin:$programs/usr/lib/cni
for folder in /usr/lib/postgresql/*/bin; do PATH=$PATH:$folder; done

case ${1:-} in
  --test) needed+=("${testing[@]}" "${unpacked[@]}") ;;
  --observe) needed+=("${observing[@]}" "${unpacked[@]}") ;;
  --lint) needed+=("${linting[@]}") ;;
  --image) needed+=("${imaging[@]}") ;;
  --chart) needed+=("${charting[@]}") ;;
  --peers) needed+=("${peers[@]}") ;;
  --kubernetes) needed+=("${clustering[@]}" "${running[@]}") ;;
  --list) needed+=("${testing[@]}" "${linting[@]}" "${observing[@]}" "${imaging[@]}"
    "${charting[@]}" "${peers[@]}" "${clustering[@]}" "${unpacked[@]}" "${running[@]}") ;;
  '') ;;
  *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2 && exit 64 ;;
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
    if [[ " ${unpacked[*]} ${running[*]} " == *" $pair "* ]]; then to_unpack+=("${pair#*:}"); else packages+=("${pair#*:}"); fi
    # Without its recommendations the compiler comes without the C library's headers.
    [[ $command != cc ]] || packages+=(libc6-dev)
  fi
done
# No command tells whether Python can make environments.
if [[ ${1:-} == --chart || ${1:-} == --kubernetes ]] && ! python3 -c 'import ensurepip' 2>/dev/null; then
  packages+=(python3-venv)
  missing_commands+=('python3 -m venv')
fi
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

# Debian 12 has Valkey, and a Go that is new enough, in its backports only. Their place and key are those of the release itself. Only the tools are
# installed, which hold the server too: the package of that name would start one.
add_backports() {
  [[ " ${packages[*]} " == *" valkey-tools "* || " ${packages[*]} " == *" golang-1.23-go "* ]] || return 0
  [[ $(. /etc/os-release && echo "${VERSION_CODENAME:-}") == bookworm ]] || return 0
  [[ -z $(apt-cache madison valkey-tools 2>/dev/null) || -z $(apt-cache madison golang-1.23-go 2>/dev/null) ]] || return 0
  local release=/etc/apt/sources.list.d/debian.sources uri key
  uri=$(sed -n 's/^URIs: *//p' "$release" 2>/dev/null | head -n 1)
  key=$(sed -n 's/^Signed-By: *//p' "$release" 2>/dev/null | head -n 1)
  printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\nSigned-By: %s\n' \
    "${uri:-http://deb.debian.org/debian}" "${key:-/usr/share/keyrings/debian-archive-keyring.gpg}" |
    "${as_root[@]}" tee /etc/apt/sources.list.d/bookworm-backports.sources >/dev/null
  update || true
}
add_backports

# PostgreSQL's package starts a server, unless it is told first to make none.
make_no_cluster() {
  [[ " ${packages[*]} " == *" postgresql "* ]] || return 0
  local wanted=("${packages[@]}") settings=/etc/postgresql-common/createcluster.conf
  packages=(postgresql-common)
  install || { update && install; } || true
  packages=("${wanted[@]}")
  grep -q '^create_main_cluster = false' "$settings" 2>/dev/null ||
    echo 'create_main_cluster = false' | "${as_root[@]}" tee -a "$settings" >/dev/null
}
make_no_cluster

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
