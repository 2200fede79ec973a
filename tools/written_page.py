"""A page of docs/ that a program writes: `--check` holds it to what would be written."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_or_check(page: Path, text: str, problems: Sequence[str], *, program: str, check: bool) -> int:
    """
    Writes *text* unless there are *problems*; with *check* only looks whether it is what *page* (of docs/) has.

    Exit code: 0 written, or current and complete; 1 otherwise, with the reasons on standard error. *program* is the
    module that writes the page.
    """
    found = list(problems)
    if check:
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            found.append(f"docs/{page.name} is not current: python -m {program}")
    elif not found:
        page.write_text(text, encoding="utf-8")
    sys.stderr.writelines(f"{problem}\n" for problem in found)
    return 1 if found else 0
