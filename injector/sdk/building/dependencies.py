"""Dependencies in pure Python, fetched by pip, or by uv where there is no pip, as a requirements file says."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from injector.errors import PluginBuildFailed
from injector.sdk.building.source import native_files, read_tree

# What installers note about this installation: paths, times, checksums of what is left out here.
_NOTES = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")


def install(requirement: Path) -> dict[str, bytes]:
    """
    The files of everything that *requirement*, a requirements file, names, by their names inside the plugin's file.

    Raises:
        PluginBuildFailed: there is no installer, or it failed (what it says is on standard error), or a distribution
            has machine code, which cannot be imported from inside a file.
    """
    with tempfile.TemporaryDirectory(prefix="plugin-build-") as directory:
        target = Path(directory)
        done = subprocess.run(  # noqa: S603 - the installer, with the author's file
            [*_installer(), "--only-binary", ":all:", "--target", str(target), "--requirement", str(requirement)],
            stdout=2,
            check=False,
        )
        if done.returncode != 0:
            raise PluginBuildFailed(f"what {requirement} names could not be installed", hint="the reason is above")
        files = read_tree(target, target)
    native = native_files(files)
    if native:
        raise PluginBuildFailed(
            f"{native[0]} of {requirement} is machine code, which cannot be imported from inside a file",
            hint="leave that distribution out, and install it where the interpreter of --python finds it",
        )
    return {name: data for name, data in files.items() if not _is_left_out(name)}


def _installer() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        raise PluginBuildFailed(
            f"{sys.executable} has no pip, and there is no uv, to fetch what --requirement names",
            hint=f"{sys.executable} -m ensurepip",
        )
    return [uv, "pip", "install", "--quiet", "--python", sys.executable]


def _is_left_out(name: str) -> bool:
    top, _, rest = name.partition("/")
    return top == "bin" or (top.endswith(".dist-info") and rest in _NOTES)
