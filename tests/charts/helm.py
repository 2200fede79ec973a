"""helm for the tests: as a program, templates as objects."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "charts"
WEBHOOK = CHARTS / "injector"
LIBRARY = CHARTS / "injector-library"


def program() -> str:
    """helm on PATH, or the one that `make charts` puts beside Python; the test is skipped without."""
    found = shutil.which("helm") or shutil.which("helm", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("there is no helm, neither on PATH nor beside Python: make charts")
    return found


class Refused(Exception):
    """helm ended badly; the text is what it wrote."""


def helm(*arguments: str | Path, home: Path) -> str:
    """What helm prints. Its settings and caches lie below *home*."""
    environment = {
        **os.environ,
        "HELM_CACHE_HOME": f"{home}/c",
        "HELM_CONFIG_HOME": f"{home}/f",
        "HELM_DATA_HOME": f"{home}/d",
    }
    command = [program(), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)
    if done.returncode:
        raise Refused(done.stderr + done.stdout)
    return done.stdout


class Renderer:
    """Renders a chart as release `r` in the namespace `ns`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._rendered: dict[tuple[Path, str, tuple[str, ...]], str] = {}

    def text(self, chart: Path, values: dict[str, Any] | None = None, *flags: str) -> str:
        if "--kube-version" not in flags:  # else it is whatever this helm was made for
            flags = (*flags, "--kube-version", "1.34.0")
        content = json.dumps(values or {})
        key = (chart, content, flags)
        if key not in self._rendered:
            file = self.home / f"{uuid.uuid4().hex}.yaml"
            file.write_text(content)
            command: list[str | Path] = ["template", "r", chart, "--namespace", "ns", "-f", file, *flags]
            self._rendered[key] = helm(*command, home=self.home)
        return self._rendered[key]

    def objects(self, chart: Path, values: dict[str, Any] | None = None, *flags: str) -> list[dict[str, Any]]:
        found = [each for each in yaml.safe_load_all(self.text(chart, values, *flags)) if each]
        return sorted(found, key=lambda each: (each["kind"], each["metadata"]["name"]))

    def one(self, kind: str, chart: Path, values: dict[str, Any] | None = None, *flags: str) -> dict[str, Any]:
        (found,) = [each for each in self.objects(chart, values, *flags) if each["kind"] == kind]
        return found
