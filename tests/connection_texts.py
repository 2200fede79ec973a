"""What the tests of connections share."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from injector.model.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path


def secrets(**texts: str) -> dict[str, Secret]:
    """Fields of a connection."""
    return {field: Secret(text.encode()) for field, text in texts.items()}


def tamper(path: Path, *statements: str) -> None:
    """Changes a store behind its back."""
    with sqlite3.connect(path) as opened:
        for statement in statements:
            opened.execute(statement)
    opened.close()
