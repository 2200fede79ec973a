"""A store in a directory of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from connection_texts import secrets

from injector.connections.store import ConnectionStore


@pytest.fixture
def store(tmp_path: Path) -> ConnectionStore:
    """Not there yet: the first connection makes it."""
    return ConnectionStore(tmp_path / "data" / "connections.db", tmp_path / "config" / "master.key")


@pytest.fixture
def filled(store: ConnectionStore) -> ConnectionStore:
    """With `a` and `b`, which have two secrets each, of one length."""
    for name in ("a", "b"):
        store.add(name, "DEMO", {"region": f"eu-{name}"}, secrets(user=f"user-of-{name}", password=f"pass-of-{name}"))
    return store


@pytest.fixture
def reveal() -> Callable[..., dict[str, str]]:
    """`reveal(store, name)`: its secrets as text."""
    return lambda store, name: {field: each.reveal().decode() for field, each in store.load(name).secrets.items()}
