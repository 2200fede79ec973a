"""What the tests of connections share."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from injector.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Rows = list[dict[str, Any]]


def secrets(**texts: str) -> dict[str, Secret]:
    """Fields of a connection."""
    return {field: Secret(text.encode()) for field, text in texts.items()}


def tamper(path: Path, *statements: str) -> None:
    """Changes a store behind its back."""
    with sqlite3.connect(path) as opened:
        for statement in statements:
            opened.execute(statement)
    opened.close()


def rewrite(path: Path, change: Callable[[Rows, Rows], None]) -> None:
    """Gives *change* the rows of `connections` (by name) and `secrets` (by connection and field), and writes them."""
    opened = sqlite3.connect(path)
    opened.row_factory = sqlite3.Row
    with opened:
        connections = [dict(row) for row in opened.execute("SELECT * FROM connections ORDER BY name")]
        ids = [row["id"] for row in connections]
        secrets = [dict(row) for row in opened.execute("SELECT * FROM secrets ORDER BY field")]
        secrets.sort(key=lambda row: ids.index(row["connection"]))
        change(connections, secrets)
        for table, rows in (("connections", connections), ("secrets", secrets)):
            opened.execute(f"DELETE FROM {table}")
            for row in rows:
                places = ", ".join(f":{column}" for column in row)
                opened.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", row)
    opened.close()


def swap(rows: Rows, column: str, first: int = 0, second: int = 1) -> None:
    """Exchanges what two rows have in a column."""
    rows[first][column], rows[second][column] = rows[second][column], rows[first][column]
