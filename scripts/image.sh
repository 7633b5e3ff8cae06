#!/usr/bin/env bash
# Builds the images of the service, the client and the load tester: static programs, with nothing else in the image but the certificates of
# authorities and a list of what the program is made of (CycloneDX). Nothing is pulled, and no daemon is asked.
#
#   image.sh [service|client|loadtest]…    all three where none is named
#
# Writes an OCI archive of each to $IMAGES (target/images), and its SBOM beside it; `docker load`, `podman load` and `ctr images import`
# read them. With LOAD=1 they are loaded by whichever of docker, podman and buildah is there. Of one commit, one compiler and one version of
# this script, the bytes are always the same: build twice and compare. PROFILE=release is quicker than the default, dist.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(uname -m)-unknown-linux-musl
profile=${PROFILE:-dist}
images=${IMAGES:-${CARGO_TARGET_DIR:-target}/images}
cache=${COUNTERSIGN_CACHE:-$HOME/.cache/countersign}/image
# Mozilla's authorities, as PyPI has them, by version and digest: those of the machine would make another image on each.
authorities=certifi==2026.7.22
names=("$@")
((${#names[@]} > 0)) || names=(service client loadtest)

# A package, its program, and what the image is called.
declare -A packages=([service]=countersign-service [client]=countersign-client [loadtest]=countersign-loadtest)
declare -A programs=([service]=countersignd [client]=countersign [loadtest]=countersign-loadtest)
# The service has all stores; the load tester scales the Deployment that it measures.
declare -A features=([service]='store-dynamodb store-valkey' [client]='' [loadtest]='kubernetes')
declare -A repositories=([service]=countersign/countersignd [client]=countersign/client [loadtest]=countersign/loadtest)
for name in "${names[@]}"; do
  [[ -n ${packages[$name]:-} ]] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2 && exit 64; }
done

scripts/install-packages.sh --image
if ! rustc --print target-libdir --target "$target" 2>/dev/null | xargs test -d; then
  echo "Adding $target to the toolchain …" >&2
  rustup target add "$target" >&2
fi
if [[ ! -s $cache/$authorities.pem ]]; then
  mkdir -p "$cache"
  download=$(mktemp -d)
  trap 'rm -rf "$download"' EXIT
  python3 -m pip download --quiet --no-deps --dest "$download" "$authorities"
  python3 -m zipfile --extract "$download"/*.whl "$download"
  mv "$download/certifi/cacert.pem" "$cache/$authorities.pem"
fi

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
# The time of the commit, so that nothing depends on when it was built.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH

# No path of this machine is in the program: not of the tree, of cargo's home, or of the compiler.
home=${CARGO_HOME:-$HOME/.cargo}
RUSTFLAGS="--remap-path-prefix=$PWD=/src --remap-path-prefix=$home=/cargo --remap-path-prefix=$(rustc --print sysroot)=/rust"
CFLAGS="-ffile-prefix-map=$PWD=/src -ffile-prefix-map=$home=/cargo"
export RUSTFLAGS CFLAGS
# Linked as Rust does it for this target, by the usual compiler: Debian's musl-gcc makes of what is to be static and movable a program that asks
# for a loader, which crashes.
export CC=musl-gcc
folder=${CARGO_TARGET_DIR:-target}
mkdir -p "$images"

selection=()
for name in "${names[@]}"; do
  selection+=(--package "${packages[$name]}" --bin "${programs[$name]}")
  for feature in ${features[$name]}; do selection+=(--features "${packages[$name]}/$feature"); done
done
cargo build --locked --profile "$profile" --target "$target" "${selection[@]}"

for name in "${names[@]}"; do
  program=${programs[$name]} built=$folder/$target/$profile/${programs[$name]}
  # Nothing else is in the image that it could need.
  "$built" --version >/dev/null || { echo "$built does not run." >&2 && exit 1; }
  ! readelf --program-headers "$built" | grep -q INTERP || { echo "$built is not static." >&2 && exit 1; }
  archive=$images/$name.tar
  cargo tree --locked --package "${packages[$name]}" --features "${features[$name]}" --target "$target" --edges normal --prefix none --no-dedupe --format '{p}|{l}|{r}' |
    LC_ALL=C sort -u |
    python3 scripts/image.py sbom --name "$program" --version "$version" >"$images/$name.cdx.json"
  # What only a debugger reads stays beside the image.
  objcopy --only-keep-debug "$built" "$images/$program.debug"
  strip --strip-all -o "$images/$program" "$built"
  python3 scripts/image.py archive --output "$archive" --name "${repositories[$name]}:$version" \
    --entrypoint "/$program" --version "$version" --revision "$revision" \
    "$images/$program=/$program" "$cache/$authorities.pem=/etc/ssl/certs/ca-certificates.crt" \
    "$images/$name.cdx.json=/usr/share/sbom/$program.cdx.json"
  [[ ${LOAD:-} != 1 ]] || for tool in docker podman buildah; do
    command -v "$tool" >/dev/null || continue
    if [[ $tool == buildah ]]; then buildah pull "oci-archive:$archive"; else "$tool" load --input "$archive"; fi
    break
  done
done
