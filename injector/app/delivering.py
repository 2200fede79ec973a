"""
Writes a program for the containers of others: `DIRECTORY`. It is started as

    DIRECTORY/loader --library-path DIRECTORY/lib DIRECTORY/python3 -I -S -B -X utf8 DIRECTORY/run.py …

and is `delivered`, with all that it needs: this interpreter, its libraries, and their own loader. So it runs in any
image of this architecture, with another C library, or without one.

This file is run by itself, by a bare interpreter (`-I -S`): what that has loaded is what is needed.
"""

from __future__ import annotations

import os
import sys

# The rest of what an interpreter starts with is built into it.
_ENCODINGS = ("__init__", "aliases", "ascii", "latin_1", "utf_8")
_ELF = b"\x7fELF"


def deliver(directory: str, program: str) -> None:
    """Fills *directory*, where *program* becomes run.py. Every file is replaced as a whole. Raises OSError."""
    interpreter = os.path.realpath("/proc/self/exe")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = os.path.join(directory, "lib")
    own = os.path.join(library, version)
    for folder in (os.path.join(own, "encodings"), os.path.join(own, "lib-dynload")):
        os.makedirs(folder, exist_ok=True)
    for loaded in _loaded():
        if loaded == interpreter:
            _copy(loaded, os.path.join(directory, "python3"), 0o755)
        elif os.path.basename(loaded).startswith("ld-"):
            _copy(loaded, os.path.join(directory, "loader"), 0o755)
            _copy_named(loaded, library)  # some libraries need it by its name, too
        else:
            _copy_named(loaded, library)
    encodings = os.path.dirname(str(sys.modules["encodings"].__file__))
    for name in _ENCODINGS:
        _copy(os.path.join(encodings, f"{name}.py"), os.path.join(own, "encodings", f"{name}.py"), 0o644)
    _copy(os.path.join(os.path.dirname(encodings), "__future__.py"), os.path.join(own, "__future__.py"), 0o644)
    # By this an interpreter finds its library; the real one is built in.
    _write(b"", os.path.join(own, "os.py"), 0o644)
    _copy(program, os.path.join(directory, "run.py"), 0o644)


def _loaded() -> list[str]:
    """The files of machine code in this process."""
    found: dict[str, None] = {}
    with open("/proc/self/maps", "rb", buffering=0) as maps:
        for line in maps.readall().splitlines():
            path = os.fsdecode(line.split(maxsplit=5)[5]) if line.count(b"/") else ""
            if path.startswith("/"):
                found[path] = None
    return [path for path in found if _starts_with(path, _ELF)]


def _starts_with(path: str, head: bytes) -> bool:
    with open(path, "rb", buffering=0) as file:
        return file.read(len(head)) == head


def _copy_named(path: str, library: str) -> None:
    """A library, under each name that it goes by: programs name it shorter than it is called."""
    folder = os.path.dirname(path)
    for name in os.listdir(folder):
        other = os.path.join(folder, name)
        if ".so" in name and os.path.realpath(other) == path:
            _copy(path, os.path.join(library, name), 0o755)


def _copy(source: str, target: str, mode: int) -> None:
    with open(source, "rb", buffering=0) as file:
        _write(file.readall(), target, mode)


def _write(data: bytes, target: str, mode: int) -> None:
    new = f"{target}.new"
    with open(new, "wb", buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]
        os.fchmod(file.fileno(), mode)
    os.replace(new, target)


def main() -> int:
    directory = sys.argv[1]
    try:
        deliver(directory, os.path.join(os.path.dirname(os.path.abspath(__file__)), "delivered.py"))
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        sys.stderr.write(f"injector: {error.filename or directory} cannot be written: {reason}\n")
        return 9  # ExitCode.OUTPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
