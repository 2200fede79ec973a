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
from urllib.parse import quote

if TYPE_CHECKING:
    from pathlib import Path

    from tools.image.layout import Python

_PACKAGES = ("usr/lib/python3*/*-packages", "usr/local/lib/python3*/*-packages")
_NAMESPACE = uuid.UUID("2f1cf7cc-3f0f-5a51-9d0c-6a3d5f3f0a5e")


def document(packages: list[Path], below: list[dict[str, Any]], python: Python, *, version: str, created: str) -> bytes:
    """
    The bill of materials, as JSON.

    Args:
        packages: the site-packages directories of ours.
        below: the components that ours stand on: `of_base` or `of_host`.
        python: the image's interpreter.
        version: injector's.
        created: RFC 3339.
    """
    found = [entry for folder in packages for entry in importlib.metadata.distributions(path=[str(folder)])]
    components = [_package(entry) for entry in found if _name(entry) != "kube-config-injector"]
    components += below
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


def of_host(libraries: list[Path]) -> list[dict[str, Any]]:
    """The components of an image whose base is this Python with *libraries* of this machine."""
    return [_python(platform.python_version()), *map(_library, libraries)]


def of_base(root: Path, python: Python) -> list[dict[str, Any]]:
    """
    The components of a base image that lies at *root*: system, Debian packages, interpreter, and what is installed
    into it. Bases of other systems than Debian's are listed without their packages.
    """
    release = _os_release(root)
    system = release.get("ID", "")
    components = [_python(_interpreter_version(root, python)), *_debian_packages(root, system or "debian")]
    if system:
        version = release.get("VERSION_ID", "")
        name = {"type": "operating-system", "name": system, "bom-ref": f"os:{system}@{version}"}
        components.append({**name, **({"version": version} if version else {})})
    folders = [folder for pattern in _PACKAGES for folder in sorted(root.glob(pattern))]
    for folder in folders:
        place = "/" + folder.relative_to(root).as_posix()
        for entry in importlib.metadata.distributions(path=[str(folder)]):
            component = _package(entry)
            # The same version may be among ours: it lies there twice.
            component["bom-ref"] += f"#{place}"
            component["properties"] = [{"name": "injector:directory", "value": place}]
            components.append(component)
    return components


def _os_release(root: Path) -> dict[str, str]:
    for path in (root / "usr/lib/os-release", root / "etc/os-release"):
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            return {name: value.strip("\"'") for name, _, value in (line.partition("=") for line in lines)}
    return {}


def _interpreter_version(root: Path, python: Python) -> str:
    # The base's own, without running it: it is a text of its own in the program or in its library.
    wanted = re.compile(rb"(?<![0-9.])(" + re.escape(python.version).encode() + rb"\.\d+(?:(?:a|b|rc)\d+)?\+?)\0")
    prefix = (root / python.executable.lstrip("/")).parents[1]
    name = f"libpython{python.version}.so.1.0"
    places = [root / python.executable.lstrip("/"), prefix / "lib" / name, *sorted((prefix / "lib").glob(f"*/{name}"))]
    for path in places:
        if path.is_file() and (match := wanted.search(path.read_bytes())):
            return match[1].decode("ascii")
    return python.version


def _debian_packages(root: Path, system: str) -> list[dict[str, Any]]:
    # Images without a package manager (distroless) have a file for each package.
    apart = sorted((root / "var/lib/dpkg/status.d").glob("*"))
    files = [root / "var/lib/dpkg/status", *(path for path in apart if path.suffix != ".md5sums")]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file()]
    found = []
    for paragraph in re.split(r"\n\n+", "\n\n".join(texts)):
        fields = dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", paragraph, re.MULTILINE))
        if {"Package", "Version"} <= fields.keys() and fields.get("Status", " installed").endswith(" installed"):
            component = _component(
                "library", fields["Package"], fields["Version"], f"pkg:deb/{system}/{fields['Package']}"
            )
            component["purl"] += f"?arch={fields.get('Architecture', 'all')}"
            component["bom-ref"] = component["purl"]
            found.append(component)
    return found


def _python(version: str) -> dict[str, Any]:
    return _component("platform", "python", version, "pkg:generic/python")


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
    address = f"{purl}@{quote(version, safe='.-_~')}"
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
