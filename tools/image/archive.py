"""
Directories to layers, layers to an image archive that is both an OCI layout and what `docker load` reads.

Every entry belongs to root, has one fixed time and plain permissions, and stands in sorted order: the same files give
the same digest, whoever builds where.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


class Layer(NamedTuple):
    """`blob` as it is stored, `diff_id` the checksum of its tar; `comment` is shown in the image's history."""

    blob: bytes
    diff_id: str
    media_type: str
    comment: str


def layer(directory: Path, comment: str, *, epoch: int, compress: bool) -> Layer:
    """The layer with all of *directory*, whose root is the image's; *epoch* is every entry's time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(directory.rglob("*")):
            _add(tar, path, path.relative_to(directory).as_posix(), epoch)
    return of_tar(buffer.getvalue(), comment, compress=compress)


def of_tar(data: bytes, comment: str, *, compress: bool) -> Layer:
    """The layer that *data*, a tar, is."""
    diff_id = hashlib.sha256(data).hexdigest()
    if compress:
        return Layer(gzip.compress(data, 6, mtime=0), diff_id, f"{_LAYER}+gzip", comment)
    return Layer(data, diff_id, _LAYER, comment)


def _add(tar: tarfile.TarFile, path: Path, name: str, epoch: int) -> None:
    info = tarfile.TarInfo(name)
    info.mtime, info.uname, info.gname = epoch, "root", "root"
    if path.is_symlink():
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
        tar.addfile(info)
    elif path.is_dir():
        info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
        tar.addfile(info)
    else:
        info.mode = 0o755 if os.access(path, os.X_OK) and path.stat().st_mode & 0o111 else 0o644
        info.size = path.stat().st_size
        with path.open("rb") as stream:
            tar.addfile(info, stream)


def architecture() -> str:
    """This machine's, as images name it."""
    return _ARCHITECTURES.get(os.uname().machine, os.uname().machine)


def write(output: Path, tag: str, layers: list[Layer], config: dict[str, Any], *, created: str) -> str:
    """
    Writes the archive, named *tag*, and gives the digest of its manifest.

    Args:
        output: the archive; replaced when it is there.
        tag: NAME:TAG.
        layers: from the lowest to the uppermost.
        config: `config` of the image configuration (Entrypoint, User, ...).
        created: RFC 3339.
    """
    blobs: dict[str, bytes] = {}
    image = {
        "architecture": architecture(),
        "os": "linux",
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.diff_id}" for layer in layers]},
        "history": [{"created": created, "created_by": layer.comment} for layer in layers],
    }
    config_descriptor = _store(blobs, _json(image), "application/vnd.oci.image.config.v1+json")
    layer_descriptors = [_store(blobs, layer.blob, layer.media_type) for layer in layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config_descriptor,
        "layers": layer_descriptors,
    }
    descriptor = _store(blobs, _json(manifest), manifest["mediaType"])
    names = {"io.containerd.image.name": tag, "org.opencontainers.image.ref.name": tag.rpartition(":")[2]}
    index = {"schemaVersion": 2, "manifests": [{**descriptor, "annotations": names}]}
    docker = [
        {
            "Config": _path(config_descriptor),
            "RepoTags": [tag],
            "Layers": [_path(descriptor) for descriptor in layer_descriptors],
        }
    ]
    files = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), **blobs}
    files |= {"index.json": _json(index), "manifest.json": _json(docker)}
    _write_tar(output, files)
    return str(descriptor["digest"])


def _store(blobs: dict[str, bytes], data: bytes, media_type: Any) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    blobs[f"blobs/sha256/{digest}"] = data
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _path(descriptor: dict[str, Any]) -> str:
    return "blobs/" + str(descriptor["digest"]).replace(":", "/")


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _write_tar(output: Path, files: dict[str, bytes]) -> None:
    aside = output.with_name(output.name + ".new")
    with tarfile.open(aside, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(data))
    aside.replace(output)
