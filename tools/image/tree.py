"""
Fills two directories with what is ours: the dependencies, and injector itself. Each becomes a layer.

Everything is pinned by requirements/runtime.txt with checksums, and compiled: on a read-only root nothing could be
cached, and each start, each probe would compile hundreds of modules anew.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

from tools.image import layout

if TYPE_CHECKING:
    from tools.image.layout import Python

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements" / "runtime.txt"
# Who installed a file, and from where, says nothing about it and differs from one tool to the next.
_INSTALLER_FILES = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json")
_COMPILE = """
import compileall, pathlib, py_compile, sys
for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.py")):
    compileall.compile_file(path, quiet=2, force=True, stripdir=sys.argv[2], prependdir="/",
                            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


class BuildError(Exception):
    """The image cannot be built; the text says why and what to do."""


def dependencies(into: Path, python: Python, stdlib: Path | None, *, has_certificates: bool) -> None:
    """
    The virtual environment with all run-time dependencies, and the compiled standard library.

    Args:
        into: an empty directory that stands for the image's root.
        python: the image's interpreter.
        stdlib: the sources of its standard library on this machine; None when its compiled files are there already.
        has_certificates: whether the base brings the authorities that it trusts; else they are those of certifi.

    Raises:
        BuildError: the interpreter is of another minor version than this one, or no installer is there or it fails.
    """
    _same_version(python)
    prefix = into / layout.PREFIX
    packages = _site_packages(into, python)
    packages.mkdir(parents=True)
    (prefix / "bin").mkdir()
    (prefix / "bin" / "python").symlink_to(python.executable)
    home = python.executable.rpartition("/")[0]
    (prefix / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n", encoding="utf-8")
    _install(packages)
    check_installed(packages)
    _leave_out(packages)
    if not has_certificates:
        _certificates(packages, into)
    _compile(packages, into)
    if stdlib is not None:
        _compiled_stdlib(into, python, stdlib)


def product(into: Path, python: Python, wheel: Path | None) -> None:
    """
    injector, its command, and the plugin directory, below *into*; *wheel* is built when it is None.

    Raises:
        BuildError: hatchling, which builds the wheel, is not there or fails.
    """
    packages = _site_packages(into, python)
    packages.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as directory, zipfile.ZipFile(wheel or _build_wheel(Path(directory))) as archive:
        archive.extractall(packages)
    _leave_out(packages)
    _compile(packages, into)
    (into / layout.PLUGINS).mkdir()
    command = into / layout.PREFIX / "bin" / "injector"
    command.parent.mkdir()
    # -I: neither variables nor the current directory say what is imported.
    command.write_text(
        f"#!/{layout.PREFIX}/bin/python -I\nfrom injector.cli.start import entry\n\nentry()\n", encoding="utf-8"
    )
    command.chmod(0o755)
    link = into / layout.COMMAND
    link.parent.mkdir(parents=True)
    link.symlink_to(f"/{layout.PREFIX}/bin/injector")


def copy_stdlib(source: Path, into: Path) -> None:
    """The standard library without what a service never imports (tests, IDLE, Tk, headers)."""

    def left_out(directory: str, names: list[str]) -> set[str]:
        top = Path(directory) == source
        unused = {
            name for name in names if top and (name in layout.UNUSED_STANDARD_LIBRARY or name.startswith("config-"))
        }
        dangling = {name for name in names if not (Path(directory) / name).exists()}
        tests = {name for name in names if name.startswith(("_test", "_tkinter", "_xxtest")) and name.endswith(".so")}
        return unused | dangling | tests | {"__pycache__", "sitecustomize.py", "EXTERNALLY-MANAGED"}

    shutil.copytree(source, into, ignore=left_out, dirs_exist_ok=True)


def compile_tree(directory: Path, root: Path) -> None:
    """Compiles every module below *directory*, which stands below *root*, the image's root."""
    _compile(directory, root)


def _same_version(python: Python) -> None:
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python.version != ours:
        raise BuildError(f"the base has Python {python.version}, this is {ours}: run it with python{python.version}")


def _site_packages(into: Path, python: Python) -> Path:
    return into / layout.PREFIX / "lib" / f"python{python.version}" / "site-packages"


def _install(packages: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    common = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(packages)]
    if uv.exists():
        command = [str(uv), "pip", "install", "--python", sys.executable, "--link-mode", "copy"]
    elif importlib.util.find_spec("pip"):
        command = [sys.executable, "-m", "pip", "install", "--no-compile", "--disable-pip-version-check"]
        common += ["--root-user-action", "ignore"]
    else:
        raise BuildError("neither uv nor pip is there to install the dependencies: run `make install`")
    _run([*command, *common, "-r", str(REQUIREMENTS)], "the dependencies could not be installed")


def check_installed(packages: Path) -> None:
    """
    Compares every file of the distributions in *packages* with its checksum in RECORD, which came in the wheel.

    Requirements have checksums of wheels, but an installer's cache holds files, and others have written to such.
    Raises BuildError naming the first file that is another.
    """
    for distribution in distributions(path=[str(packages)]):
        for file in distribution.files or ():
            path = Path(str(file.locate()))
            if file.hash is None or file.hash.mode != "sha256" or not path.is_file():
                continue
            digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
            if digest != file.hash.value:
                name = distribution.metadata["Name"]
                raise BuildError(
                    f"{file} is not as {name} brings it: empty the installer's cache (uv cache clean {name})"
                )


def _build_wheel(directory: Path) -> Path:
    if importlib.util.find_spec("hatchling") is None:
        raise BuildError("hatchling, which builds the wheel, is not installed: run `make install`, or give --wheel")
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)], "no wheel could be built")
    (wheel,) = directory.glob("*.whl")
    return wheel


def _leave_out(packages: Path) -> None:
    for name in layout.UNUSED:
        shutil.rmtree(packages / name, ignore_errors=True)
    services = packages / "botocore" / "data"
    for service in services.iterdir() if services.is_dir() else ():
        if service.is_dir() and service.name not in layout.AWS_SERVICES:
            shutil.rmtree(service)
    for path in [*packages.rglob("*.pyi"), *packages.rglob("*.pyx"), *packages.rglob("*.pxd")]:
        path.unlink()
    for record in packages.glob("*.dist-info"):
        for name in _INSTALLER_FILES:
            (record / name).unlink(missing_ok=True)
    (packages / ".lock").unlink(missing_ok=True)


def _certificates(packages: Path, into: Path) -> None:
    # Not those of this machine: it may trust authorities (a proxy's, a company's) that an image must not.
    target = into / layout.CERTIFICATES
    target.parent.mkdir(parents=True)
    shutil.copyfile(packages / "certifi" / "cacert.pem", target)


def _compiled_stdlib(into: Path, python: Python, stdlib: Path) -> None:
    target = into / python.stdlib.lstrip("/")
    copy_stdlib(stdlib, target)
    _compile(target, into)
    for path in sorted(target.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.suffix != ".pyc":
            path.unlink()


def _compile(directory: Path, root: Path) -> None:
    # One process, in order: what the marshaller writes depends on what was interned before.
    _run([sys.executable, "-I", "-c", _COMPILE, str(directory), str(root)], "the modules could not be compiled")


def _run(command: list[str], what: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{what}: {(done.stderr or done.stdout).strip()[-2000:]}")
