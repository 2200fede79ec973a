"""
Writes docs/errors.md: `python -m tools.error_table [--check]`, from the repository's root.

A row for each error of injector/errors.py that can be met: its code, its exit code, its class's docstring as the cause,
and the remedy of tools/error_remedies.py. With `--check` nothing is written, and it fails when the page is not current.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from injector import errors
from tools.error_remedies import REMEDIES
from tools.written_page import write_or_check

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "errors.md"

# Bases that nobody raises; the errors of a run are told one by one.
ABSTRACT = frozenset({"injector-error", "resolution-failed", "check-error", "command-invalid", "notify", "run-failed"})

INTRODUCTION = """\
# Errors

Every error has a code, which stands in brackets behind its message and does not change; the wording may. Each one of
these wordings is in [tests/data/errors](../tests/data/errors) as it is printed. Exit codes: [exit-codes.md](exit-codes.md).
Written by `python -m tools.error_table` from injector/errors.py.

| code | exit | cause | remedy |
| --- | --- | --- | --- |
"""


def leaves() -> Iterator[type[errors.InjectorError]]:
    """The errors that can be met, in the order of the file."""
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.InjectorError) and "code" in vars(kind) and kind.code not in ABSTRACT:
            yield kind


def page() -> str:
    """The whole page."""
    ordered = sorted(leaves(), key=lambda kind: inspect.getsourcelines(kind)[1])
    return INTRODUCTION + "".join(f"{_row(kind)}\n" for kind in ordered)


def _row(kind: type[errors.InjectorError]) -> str:
    paragraph = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]
    cause = " ".join(paragraph.split()).replace("|", "\\|")
    return f"| `{kind.code}` | {int(kind.exit_code)} | {cause} | {REMEDIES.get(kind.code, '')} |"


def problems() -> list[str]:
    """What an error lacks, in words."""
    found = []
    for kind in leaves():
        if "__doc__" not in vars(kind) or not kind.__doc__:
            found.append(f"{kind.__name__} has no docstring, which says when it happens")
        if not REMEDIES.get(kind.code):
            found.append(f"{kind.code} has no remedy in tools/error_remedies.py")
    return found


def main(arguments: list[str]) -> int:
    """Exit code: 0 written, or current and complete; 1 otherwise, with the reasons on standard error."""
    return write_or_check(PAGE, page(), problems(), program="tools.error_table", check="--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
