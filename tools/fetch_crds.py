"""
Puts the definitions of other projects' kinds that our charts use into build/crds: `python -m tools.fetch_crds`.

The cluster tests hold our objects against them (tests/e2e/test_chart_objects.py). They come from the Go module proxy,
in versions and with checksums that are pinned here; a node's own network has no way out, so `make e2e` fetches before.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "build" / "crds"


class Source(NamedTuple):
    """A Go module at a version; `checksum` is that of Go's checksum database, `files` are paths in it."""

    module: str
    checksum: str
    files: tuple[str, ...]


SOURCES = (
    Source(
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        (
            "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ),
    ),
    Source(
        "github.com/cert-manager/cert-manager@v1.18.2",
        "h1:H2P75ycGcTMauV3gvpkDqLdS3RSXonWF2S49QGA1PZE=",
        ("deploy/crds/crd-certificates.yaml", "deploy/crds/crd-issuers.yaml", "deploy/crds/crd-clusterissuers.yaml"),
    ),
)


class FetchError(Exception):
    """They cannot be had; the text says why."""


def fetch(target: Path = TARGET) -> list[Path]:
    """
    The files in *target*; those that are there already are taken as they are.

    Raises:
        FetchError: there is no Go toolchain, the module cannot be had, or it is another one than is pinned.
    """
    found = []
    for source in SOURCES:
        paths = [target / Path(name).name for name in source.files]
        if not all(path.is_file() for path in paths):
            module = _module(source)
            target.mkdir(parents=True, exist_ok=True)
            for name, path in zip(source.files, paths, strict=True):
                aside = path.with_suffix(".new")
                shutil.copyfile(module / name, aside)
                aside.chmod(0o644)  # modules are read-only
                aside.replace(path)
        found += paths
    return found


def _module(source: Source) -> Path:
    go = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
    if go is None:
        raise FetchError("there is no Go toolchain to fetch modules with")
    with tempfile.TemporaryDirectory() as elsewhere:  # not in anybody's module
        command = [go, "mod", "download", "-json", source.module]
        environment = {**os.environ, "GOWORK": "off", "GOTOOLCHAIN": "local"}
        done = subprocess.run(  # noqa: S603 - ours
            command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
        )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = {"Error": done.stderr.strip()[-500:]}
    if error := answer.get("Error"):
        raise FetchError(f"{source.module} cannot be had: {error}")
    if answer["Sum"] != source.checksum:
        raise FetchError(f"{source.module} has the checksum {answer['Sum']}, and not the one that is pinned")
    return Path(answer["Dir"])


def main() -> int:
    """Exit code: 0 they are there, 1 they cannot be had."""
    try:
        for path in fetch():
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    except FetchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
