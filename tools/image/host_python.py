"""The Python that runs this, as the base of an image: interpreter, standard library, shared libraries."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tools.image import tree
from tools.image.layout import Python

_USERS = "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
_GROUPS = "root:x:0:\nnogroup:x:65534:\n"
_STANDARD = re.compile(r"/(usr/)?lib(64)?(/[a-z0-9_]+-linux-gnu[a-z0-9]*)?")
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")
# Not linked, but loaded at run time by the C library to look names up.
_LOADED = ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")


def describe() -> Python:
    """Where this Python will stand in the image."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Python(version, f"/usr/local/bin/python{version}", f"/usr/local/lib/python{version}")


def fill(into: Path, packages: Path) -> list[Path]:
    """
    This Python below *into*, with every shared library that it and the extension modules below *packages* need.

    Gives the files that were taken from the machine beside Python itself, for the list of contents.
    """
    python = describe()
    executable = Path(sys.executable).resolve()
    _copy(executable, into / python.executable[1:])
    (into / "usr/local/bin/python3").symlink_to(f"python{python.version}")
    stdlib = into / python.stdlib[1:]
    tree.copy_stdlib(Path(sysconfig.get_path("stdlib")), stdlib)
    tree.compile_tree(stdlib, into)
    programs = [executable, *sorted(stdlib.rglob("*.so")), *sorted(packages.rglob("*.so"))]
    libraries = _libraries(programs)
    for library in libraries:
        _copy(library.resolve(), into / _place(library))
    _links(into)
    _accounts(into)
    return libraries


def _libraries(programs: list[Path]) -> list[Path]:
    found: set[Path] = set()
    for program in programs:
        done = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
        found |= {Path(match) for match in _LIBRARY.findall(done.stdout)}
    beside = {library.parent for library in found if library.name.startswith("libc.so")}
    found |= {folder / name for folder in beside for name in _LOADED if (folder / name).exists()}
    inside = {program.parent for program in programs}
    return sorted(library for library in found if library.parent not in inside and ".libs" not in library.parent.name)


def _place(library: Path) -> str:
    # The loader finds nothing but what lies in the usual directories; /lib and /lib64 are links to those below /usr.
    if not _STANDARD.fullmatch(str(library.parent)):
        return f"usr/lib/{library.name}"
    return re.sub(r"^(usr/)?", "usr/", str(library).lstrip("/"), count=1)


def _links(into: Path) -> None:
    for name in ("lib", "lib64"):
        if (into / "usr" / name).is_dir():
            (into / name).symlink_to(f"usr/{name}")


def _accounts(into: Path) -> None:
    etc = into / "etc"
    etc.mkdir()
    (etc / "passwd").write_text(_USERS, encoding="ascii")
    (etc / "group").write_text(_GROUPS, encoding="ascii")
    (etc / "nsswitch.conf").write_text("hosts: files dns\n", encoding="ascii")
    (into / "tmp").mkdir()


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
