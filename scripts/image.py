"""Writes a list of what a program is made of, and OCI archives: without a daemon, a registry, or anything of the moment.

    image.py sbom --name N --version V <(cargo tree …)      CycloneDX 1.6 on standard output
    image.py archive --output FILE --name REPOSITORY:TAG --entrypoint PATH --version V --revision R SOURCE=DESTINATION…
"""

import argparse
import datetime
import gzip
import hashlib
import io
import json
import os
import platform
import sys
import tarfile
import urllib.parse
from pathlib import Path

USER = 65532
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
CREATED = datetime.datetime.fromtimestamp(EPOCH, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def component(line: str) -> dict:
    """A line of cargo tree, `name v1.2.3 (…)|licence|repository`, as a component."""
    package, licence, repository = line.rstrip("\n").split("|")
    name, version = package.split()[:2]
    version = version.removeprefix("v")
    url = f"pkg:cargo/{urllib.parse.quote(name)}@{urllib.parse.quote(version)}"
    found = {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}
    if licence:
        found["licenses"] = [{"expression": " OR ".join(part.strip() for part in licence.split("/"))}]
    if repository:
        found["externalReferences"] = [{"type": "vcs", "url": repository}]
    return found


def sbom(arguments: argparse.Namespace) -> None:
    components = {item["bom-ref"]: item for item in map(component, filter(str.strip, sys.stdin))}
    json.dump(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "timestamp": CREATED,
                "component": {"type": "application", "bom-ref": arguments.name, "name": arguments.name, "version": arguments.version},
            },
            "components": [components[key] for key in sorted(components)],
        },
        sys.stdout,
        indent=1,
    )


def entry(name: str, size: int = 0, mode: int = 0o644, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type, info.mtime = size, mode, kind, EPOCH
    return info


def layer(files: list[str]) -> bytes:
    """An uncompressed layer: the files, owned by root, and the folders that they are in."""
    buffer, folders = io.BytesIO(), {"tmp"}
    pairs = sorted((destination.lstrip("/"), Path(source)) for source, destination in (file.rsplit("=", 1) for file in files))
    for destination, _ in pairs:
        folders.update(str(parent) for parent in Path(destination).parents if str(parent) != ".")
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in sorted(folders):
            tar.addfile(entry(folder, mode=0o1777 if folder == "tmp" else 0o755, kind=tarfile.DIRTYPE))
        for destination, source in pairs:
            content = source.read_bytes()
            mode = 0o755 if os.access(source, os.X_OK) else 0o644
            tar.addfile(entry(destination, len(content), mode), io.BytesIO(content))
    return buffer.getvalue()


def archive(arguments: argparse.Namespace) -> None:
    blobs: dict[str, bytes] = {}

    def blob(content: bytes, media_type: str, **more) -> dict:
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content), **more}

    def document(content: dict) -> bytes:
        return json.dumps(content, sort_keys=True).encode()

    architecture = ARCHITECTURES[platform.machine()]
    plain = layer(arguments.files)
    packed = blob(gzip.compress(plain, compresslevel=9, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")
    labels = {
        "org.opencontainers.image.created": CREATED,
        "org.opencontainers.image.licenses": "Apache-2.0 OR MIT",
        "org.opencontainers.image.revision": arguments.revision,
        "org.opencontainers.image.source": "https://github.com/countersign/countersign",
        "org.opencontainers.image.title": arguments.name.split(":")[0],
        "org.opencontainers.image.version": arguments.version,
    }
    config = {
        "architecture": architecture,
        "os": "linux",
        "created": CREATED,
        "config": {
            "Entrypoint": [arguments.entrypoint],
            "Env": ["PATH=/", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
            "User": f"{USER}:{USER}",
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
        "history": [{"created": CREATED, "created_by": "scripts/image.sh"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(document(config), "application/vnd.oci.image.config.v1+json"),
        "layers": [packed],
        "annotations": labels,
    }
    name = arguments.name
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            blob(
                document(manifest),
                "application/vnd.oci.image.manifest.v1+json",
                platform={"architecture": architecture, "os": "linux"},
                annotations={"io.containerd.image.name": f"docker.io/{name}", "org.opencontainers.image.ref.name": name.split(":")[1]},
            )
        ],
    }
    contents = {f"blobs/sha256/{digest}": content for digest, content in blobs.items()}
    contents |= {"index.json": document(index), "oci-layout": document({"imageLayoutVersion": "1.0.0"})}
    with tarfile.open(arguments.output, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in ("blobs", "blobs/sha256"):
            tar.addfile(entry(folder, mode=0o755, kind=tarfile.DIRTYPE))
        for path in sorted(contents):
            tar.addfile(entry(path, len(contents[path])), io.BytesIO(contents[path]))
    print(f"{arguments.output}: {name}, {packed['size'] / 1e6:.1f} MB, {index['manifests'][0]['digest']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("sbom")
    command.add_argument("--name", required=True)
    command.add_argument("--version", required=True)
    command.set_defaults(run=sbom)
    command = commands.add_parser("archive")
    for option in ("output", "name", "entrypoint", "version", "revision"):
        command.add_argument(f"--{option}", required=True)
    command.add_argument("files", nargs="+", metavar="SOURCE=DESTINATION")
    command.set_defaults(run=archive)
    arguments = parser.parse_args()
    arguments.run(arguments)


main()
