"""Where the connections of `injector ui` are, and why they cannot be changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from injector.app.local_page import UserConnections
from injector.settings.schema import ConnectionSettings, Settings
from injector.telemetry.logs import Log


def connections(environment: dict[str, str] | None = None, **settings: Path) -> UserConnections:
    chosen = Settings(connections=ConnectionSettings(**settings))
    return UserConnections(chosen, environment or {}, Log())


def test_a_store_that_is_not_there_yet_can_be_written(tmp_path: Path) -> None:
    store = tmp_path / "not" / "yet" / "connections.db"
    found = connections(store=store, master_key_file=tmp_path / "key")
    assert (found.where, found.refusal, found.all()) == (str(store), None, [])
    assert list(tmp_path.iterdir()) == []


def test_a_store_on_a_disk_that_is_read_only_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.access` is played: for root, who may write anywhere, nothing here is read only."""
    asked: list[Path] = []
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append(path))
    found = connections(store=tmp_path / "not" / "connections.db", master_key_file=tmp_path / "key")
    assert found.refusal == f"{tmp_path} may not be written"
    assert asked == [tmp_path]


def test_mounted_connections_and_no_place_at_all_are_told_apart(tmp_path: Path) -> None:
    mounted = connections(directory=tmp_path)
    assert mounted.where == str(tmp_path)
    assert "read only" in str(mounted.refusal)
    nowhere = connections()
    assert (nowhere.where, nowhere.all()) == (None, [])
    assert "no HOME" in str(nowhere.refusal)


def test_prefixes_are_those_of_plugins_that_would_be_started(tmp_path: Path) -> None:
    found = connections({"HOME": str(tmp_path)}).prefixes()
    assert {"prefix": "AWSPARAMSTR", "plugin": "awsparamstr"} in found
    assert not {"ENV", "FILE"} & {each["prefix"] for each in found}
