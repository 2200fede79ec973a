"""The image's contents as CycloneDX 1.6, read from what was installed and not from what was asked for."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tools.image.layout import Python

_NAMESPACE = uuid.UUID("2f1cf7cc-3f0f-5a51-9d0c-6a3d5f3f0a5e")


def document(packages: list[Path], libraries: list[Path], python: Python, *, version: str, created: str) -> bytes:
    """
    The bill of materials, as JSON.

    Args:
        packages: the site-packages directories of the image.
        libraries: shared libraries that were taken from this machine.
        python: the image's interpreter.
        version: injector's.
        created: RFC 3339.
    """
    found = [entry for folder in packages for entry in importlib.metadata.distributions(path=[str(folder)])]
    components = [_package(entry) for entry in found if _name(entry) != "kube-config-injector"]
    components += [_library(path) for path in libraries]
    if libraries:
        components.append(_component("platform", "python", platform.python_version(), "pkg:generic/python"))
    components.sort(key=lambda component: (component["type"], component["name"], component["bom-ref"]))
    content: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": created,
            "component": _component("container", "injector", version, "pkg:pypi/kube-config-injector"),
            "properties": [{"name": "injector:python", "value": python.version}],
        },
        "components": components,
    }
    serial = uuid.uuid5(_NAMESPACE, json.dumps(content, sort_keys=True))
    return json.dumps({**content, "serialNumber": f"urn:uuid:{serial}"}, indent=1, sort_keys=True).encode() + b"\n"


def _name(entry: importlib.metadata.Distribution) -> str:
    return re.sub(r"[-_.]+", "-", entry.metadata["Name"]).lower()


def _package(entry: importlib.metadata.Distribution) -> dict[str, Any]:
    name = _name(entry)
    component = _component("library", name, entry.version, f"pkg:pypi/{name}")
    spdx = entry.metadata.get("License-Expression")
    if spdx:
        component["licenses"] = [{"expression": spdx}]
    elif (text := entry.metadata.get("License")) and len(text) < 80:
        component["licenses"] = [{"license": {"name": text}}]
    return component


def _component(kind: str, name: str, version: str, purl: str) -> dict[str, Any]:
    address = f"{purl}@{version}"
    return {"type": kind, "name": name, "version": version, "purl": address, "bom-ref": address}


def _library(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    component: dict[str, Any] = {
        "type": "file",
        "name": path.name,
        "bom-ref": f"file:{path.name}:{digest[:16]}",
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }
    if owner := _debian_package(path):
        component["properties"] = [{"name": "injector:package", "value": owner}]
    return component


def _debian_package(path: Path) -> str:
    query = shutil.which("dpkg-query")
    if query is None:
        return ""
    for name in (path, path.resolve(), path.resolve().relative_to("/usr") if path.is_relative_to("/usr") else path):
        done = subprocess.run([query, "--search", str(name)], capture_output=True, text=True, check=False)
        if done.returncode == 0 and (package := done.stdout.partition(": ")[0]):
            shown = subprocess.run(
                [query, "--show", "--showformat=pkg:deb/debian/${Package}@${Version}", package.split(",")[0]],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            return shown.stdout
    return ""
