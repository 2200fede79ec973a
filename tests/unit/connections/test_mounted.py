"""Connections as Kubernetes mounts them."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from injector.connections.mounted import MountedConnections
from injector.errors import ConnectionInvalid, ConnectionUnknown


def publish(directory: Path, generation: str, files: dict[str, str]) -> None:
    """As the kubelet does: a new directory, the link `..data` moved to it in one step, the old one removed."""
    directory.mkdir(exist_ok=True)
    old = os.readlink(directory / "..data") if (directory / "..data").is_symlink() else None
    (directory / generation).mkdir()
    for name, text in files.items():
        (directory / generation / name).write_text(text)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    (directory / "..data_tmp").symlink_to(generation)
    (directory / "..data_tmp").rename(directory / "..data")
    if old is not None:
        shutil.rmtree(directory / old)


def as_json(text: str) -> str:
    return json.dumps({"prefix": "DEMO", "settings": {"region": text}, "secrets": {"token": f"canary-{text}"}})


def test_one_secret_with_a_file_for_each_connection(tmp_path) -> None:
    publish(
        tmp_path / "c", "..1", {"prod-eu.json": as_json("eu"), "dev.json": as_json("dev"), "README": "no connection"}
    )
    source = MountedConnections(tmp_path / "c")
    assert [each.name for each in source.summaries()] == ["dev", "prod-eu"]
    found = source.load("prod-eu")
    assert found.configuration() == {"region": "eu", "token": "canary-eu"}
    assert (found.id, found.prefix) == ("mounted-prod-eu", "DEMO")
    assert found.version > 0


def test_a_secret_for_each_connection_mounted_as_a_directory(tmp_path) -> None:
    files = {"prefix": "demo\n", "settings.json": '{"timeout": 5}', "token": "canary\n", "key": " k \r\n"}
    publish(tmp_path / "prod", "..1", files)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "prefix").write_text("OTHER")
    source = MountedConnections(tmp_path)
    assert source.load("prod").configuration() == {"timeout": 5, "token": "canary", "key": " k "}
    assert [(each.name, each.prefix, each.secret_fields) for each in source.summaries()] == [
        ("dev", "OTHER", ()),
        ("prod", "DEMO", ("key", "token")),
    ]


def test_a_change_of_the_secret_is_another_version(tmp_path) -> None:
    publish(tmp_path / "c", "..1", {"a.json": as_json("1")})
    source = MountedConnections(tmp_path / "c")
    before = source.load("a")
    time.sleep(0.02)
    publish(tmp_path / "c", "..2", {"a.json": as_json("2")})
    after = source.load("a")
    assert after != before
    assert after.version > before.version
    assert after.configuration()["token"] == "canary-2"


@pytest.mark.parametrize("layout", ["files", "directory"])
def test_a_swap_while_it_is_read_never_mixes_generations(tmp_path, layout) -> None:
    target = tmp_path / "c" if layout == "files" else tmp_path / "c" / "a"
    target.parent.mkdir(exist_ok=True)
    stop = threading.Event()

    def files(number: int) -> dict[str, str]:
        if layout == "files":
            return {"a.json": as_json(str(number)), "b.json": as_json(str(number))}
        return {"prefix": "DEMO", **{f"field{n}": str(number) for n in range(8)}}

    def swap() -> None:
        for number in range(2, 400):
            if stop.is_set():
                return
            publish(target, f"..{number}", files(number))

    publish(target, "..1", files(1))
    thread = threading.Thread(target=swap)
    thread.start()
    source = MountedConnections(tmp_path / "c")
    seen = set()
    try:
        for _ in range(200):
            if layout == "files":
                numbers = {each.settings["region"] for each in source.summaries()}
            else:
                numbers = {secret.reveal() for secret in source.load("a").secrets.values()}
            assert len(numbers) == 1
            seen |= numbers
    finally:
        stop.set()
        thread.join()
    assert len(seen) > 1


def test_an_unknown_name_is_told_with_those_that_come_near(tmp_path) -> None:
    (tmp_path / "prod.json").write_text(as_json("x"))
    with pytest.raises(ConnectionUnknown) as caught:
        MountedConnections(tmp_path).load("prd")
    assert caught.value.hint == "did you mean prod?"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"prefix": "DEMO", "secrets": {"token": "canary'),
        ("a.json", '{"prefix": "DEMO", "secrets": {"token": 4711}, "canary": 1}'),
        ("a.json", '{"prefix": "DEMO", "secrets": "canary"}'),
        ("a.json", '["canary"]'),
        ("a.json", '{"settings": ' + "[" * 100_000),
        ("a.json", '{"secrets": {"token": "canary"}}'),
        ("a.json", '{"prefix": "canary!", "secrets": {}}'),
        ("a.json", '{"prefix": "DEMO", "settings": {"x": 1}, "secrets": {"x": "canary"}}'),
        ("a.json", '{"prefix": "DEMO", "secrets": {"x": "\\ud800canary"}}'),
        ("A.json", as_json("x")),
    ],
)
def test_what_is_no_connection_is_told_without_its_content(tmp_path, name, content) -> None:
    (tmp_path / name).write_text(content)
    for action in (MountedConnections(tmp_path).summaries, lambda: MountedConnections(tmp_path).load("a")):
        with pytest.raises(ConnectionInvalid) as caught:
            action()
        error: BaseException | None = caught.value
        while error is not None:
            assert "canary" not in f"{error} {getattr(error, 'hint', '')}"
            error = error.__cause__ or error.__context__


def test_files_that_cannot_be_read_are_told(tmp_path) -> None:
    folder = tmp_path / "c"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "prefix").write_text("DEMO")
    (folder / "a" / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(ConnectionInvalid, match="not text in UTF-8"):
        MountedConnections(folder).load("a")
    (folder / "a" / "token").unlink()
    os.mkfifo(folder / "a" / "token")
    with pytest.raises(ConnectionInvalid, match="holds what is no file"):
        MountedConnections(folder).load("a")
    (folder / "a.json").write_text(as_json("x"))
    with pytest.raises(ConnectionInvalid, match="as a file and as a directory"):
        MountedConnections(folder).summaries()


def test_a_directory_that_is_not_there_is_told(tmp_path) -> None:
    with pytest.raises(ConnectionInvalid, match="does not exist"):
        MountedConnections(tmp_path / "none").summaries()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConnectionInvalid, match="not a directory"):
        MountedConnections(tmp_path / "file").summaries()
