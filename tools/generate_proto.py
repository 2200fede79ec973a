"""
Generates `injector/_proto` from `proto/`; with `--check`, only tells whether what is committed is up to date.

Run it with the grpcio-tools of requirements/dev.txt: the generated code depends on the compiler's version.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "proto"
COMMITTED = ROOT / "injector" / "_proto"

# The docstrings of the packages: protoc knows no packages of Python.
PACKAGES = {
    ".": '"""\nMessages of the wire, generated from `proto/` by tools/generate_proto.py.\n\n'
    "Nothing is written here by hand. May be imported by `sdk` and by `backends.goplugin`; the modules do not import\n"
    'each other.\n"""\n',
    "goplugin": '"""Messages of HashiCorp go-plugin: controller, stdio, broker."""\n',
    "grpc_health": '"""Messages of the gRPC health service."""\n',
    "grpc_health/v1": '"""Version 1, as in grpcio-health-checking."""\n',
    "injector": '"""Protocols of our own."""\n',
    "injector/plugin": '"""Between a host and its plugins."""\n',
    "injector/plugin/v2": '"""Protocol 2."""\n',
    "tokenstore": '"""Messages between a host and a store of tokens."""\n',
    "tokenstore/v1": '"""Protocol 1: configmanager\'s."""\n',
}


def generate(target: Path) -> None:
    """Writes all modules below *target*, an existing directory. RuntimeError when protoc refuses a source."""
    from grpc_tools import protoc  # late: `--help` works without the development tools

    sources = sorted(str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{SOURCES}", f"-I{well_known}", f"--python_out={target}", f"--pyi_out={target}"]
    if protoc.main([*arguments, *sources]) != 0:
        raise RuntimeError("protoc refused a source; its message is above")
    for package, docstring in PACKAGES.items():
        (target / package / "__init__.py").write_text(docstring, encoding="utf-8")


def stale(committed: Path, generated: Path) -> list[str]:
    """The differences as lines of a unified diff; empty when both trees hold the same files with the same text."""
    names = {
        path.relative_to(tree) for tree in (committed, generated) for path in tree.rglob("*.py*") if _is_code(path)
    }
    lines: list[str] = []
    for name in sorted(names):
        old, new = (_lines(tree / name) for tree in (committed, generated))
        lines.extend(difflib.unified_diff(old, new, f"committed/{name}", f"generated/{name}"))
    return lines


def _is_code(path: Path) -> bool:
    return path.suffix in {".py", ".pyi"}


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done or up to date, 1 stale (the diff is printed)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the committed code is stale")
    if not parser.parse_args(arguments).check:
        COMMITTED.mkdir(exist_ok=True)
        generate(COMMITTED)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        generate(Path(directory))
        difference = stale(COMMITTED, Path(directory))
    sys.stdout.writelines(difference)
    if difference:
        sys.stderr.write("injector/_proto is not what proto/ generates; run `make proto`\n")
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
