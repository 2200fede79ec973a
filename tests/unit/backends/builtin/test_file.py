"""`FILE:///path`."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from waiting import PATIENCE

from injector.backends.builtin.file import FileBackend
from injector.errors import AccessDenied, BackendUnavailable, CallTimeout, InvalidReference, ValueNotFound
from injector.model.references import DocumentFormat, Reference, Value


async def _one(path, metadata="", *, root=None, largest=1000, connection=None):
    backend = FileBackend(root=root, max_value_bytes=largest)
    reference = Reference("FILE", str(path), metadata, connection)
    ((answered, outcome),) = [answer async for answer in backend.fetch([reference], timeout=PATIENCE)]
    assert answered == reference
    return outcome


@pytest.fixture
def open_tmp():
    """A temporary directory that every user can reach: pytest closes its own to others, also while tests run."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@pytest.fixture
def root(tmp_path):
    """A root beside a file that must not be read."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"outside")
    (tmp_path / "root/sub").mkdir(parents=True)
    (tmp_path / "root/sub/a").write_bytes(b"inside")
    return tmp_path / "root"


async def test_the_value_is_the_files_exact_bytes(tmp_path):
    data = bytes(range(256)) + b"\r\n\n"
    (tmp_path / "a").write_bytes(data)
    outcome = await _one(tmp_path / "a")
    assert outcome.data.reveal() == data


async def test_relative_paths_start_at_the_current_directory_or_at_the_root(tmp_path, monkeypatch, root):
    monkeypatch.chdir(root)
    assert (await _one("sub/a")).data.reveal() == b"inside"
    monkeypatch.chdir(tmp_path)
    assert isinstance(await _one("sub/a"), ValueNotFound)
    assert (await _one("sub/a", root=root)).data.reveal() == b"inside"


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("a.json", DocumentFormat.JSON),
        ("a.yaml", DocumentFormat.YAML),
        ("a.YML", DocumentFormat.YAML),
        ("a.env", DocumentFormat.DOTENV),
        (".env", DocumentFormat.DOTENV),
        ("a.txt", DocumentFormat.JSON),
        ("yaml", DocumentFormat.JSON),
    ],
)
async def test_the_extension_says_how_keys_look_into_it(tmp_path, name, format_):
    (tmp_path / name).write_bytes(b"x")
    assert (await _one(tmp_path / name)).format is format_


@pytest.mark.parametrize(
    ("metadata", "data", "format_"),
    [
        ("type=yaml", b"x\r\n\n", DocumentFormat.YAML),
        ("type=text", b"x\r\n\n", DocumentFormat.JSON),
        ("type=json,trim=false", b"x\r\n\n", DocumentFormat.JSON),
        ("trim=true", b"x\r\n", DocumentFormat.DOTENV),
        (" trim=true , type=dotenv ", b"x\r\n", DocumentFormat.DOTENV),
    ],
)
async def test_metadata_goes_before_the_extension_and_trims_one_line_break(tmp_path, metadata, data, format_):
    (tmp_path / "a.env").write_bytes(b"x\r\n\n")
    outcome = await _one(tmp_path / "a.env", metadata)
    assert (outcome.data.reveal(), outcome.format) == (data, format_)


@pytest.mark.parametrize(
    ("data", "trimmed"), [(b"x\r\n", b"x"), (b"x", b"x"), (b"x\r", b"x\r"), (b"\n", b""), (b"", b"")]
)
async def test_trim_takes_one_trailing_line_break(tmp_path, data, trimmed):
    (tmp_path / "a").write_bytes(data)
    assert (await _one(tmp_path / "a", "trim=true")).data.reveal() == trimmed


@pytest.mark.parametrize("metadata", ["version=1", "type=xml", "trim=yes", "trim", "trim=true,trim=true", "type="])
async def test_other_metadata_is_refused(tmp_path, metadata):
    (tmp_path / "a").write_bytes(b"x")
    assert isinstance(await _one(tmp_path / "a", metadata), InvalidReference)


async def test_a_connection_is_refused(tmp_path):
    assert isinstance(await _one(tmp_path / "a", connection="prod"), InvalidReference)


@pytest.mark.parametrize("path", ["none", "none/a", "file/a", "dangling"])
async def test_what_does_not_exist_is_missing(tmp_path, path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "dangling").symlink_to("none")
    for root in (None, tmp_path):
        outcome = await _one(tmp_path / path, root=root)
        assert isinstance(outcome, ValueNotFound)
        assert str(tmp_path / path) in outcome.message


@pytest.mark.parametrize("kind", ["directory", "pipe", "socket", "/dev/zero", "loop", "nul\0", "n" * 300])
async def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path, kind):
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for root in (None, tmp_path, "/"):
            if kind != "/dev/zero" or root != tmp_path:
                assert isinstance(await _one(tmp_path / kind, root=root), InvalidReference)


async def test_the_largest_size_is_allowed_and_one_byte_more_is_not(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 1000)
    assert len((await _one(tmp_path / "a")).data) == 1000
    (tmp_path / "a").write_bytes(b"x" * 1001)
    outcome = await _one(tmp_path / "a")
    assert isinstance(outcome, InvalidReference)
    assert "1001 bytes" in outcome.message
    assert "1000" in outcome.message


async def test_a_file_that_says_it_is_empty_and_is_not_is_limited_too():
    outcome = await _one("/proc/kallsyms" if os.path.getsize("/proc/kallsyms") == 0 else "/proc/cpuinfo", largest=10)
    assert isinstance(outcome, InvalidReference)
    assert "11 bytes or more" in outcome.message
    assert isinstance(await _one("/proc/self/status", largest=100_000), Value)


@pytest.mark.parametrize(
    "path",
    ["../outside/secret", "sub/../../outside/secret", "link", "linked/secret", "/etc/passwd", "../none", "chain", ".."],
)
async def test_nothing_outside_of_the_root_is_read_nor_told_about(root, path):
    (root / "link").symlink_to("../outside/secret")
    (root / "linked").symlink_to(root.parent / "outside")
    (root / "chain").symlink_to("link")
    outcome = await _one(path, root=root)
    assert isinstance(outcome, AccessDenied)
    assert str(root) in outcome.hint


async def test_links_inside_of_the_root_are_followed_and_the_root_may_be_a_link(root):
    (root / "..2026").mkdir()
    (root / "..2026/password").write_bytes(b"s3")
    (root / "..data").symlink_to("..2026")
    (root / "password").symlink_to("..data/password")
    (root.parent / "alias").symlink_to("root")
    for base in (root, root.parent / "alias"):
        assert (await _one("password", root=base)).data.reveal() == b"s3"
        assert (await _one(base / "password", root=base)).data.reveal() == b"s3"


async def test_a_mounted_secret_that_is_swapped_all_the_time_is_always_found(root):
    def generation(number):
        (root / f"..{number}").mkdir()
        (root / f"..{number}/password").write_bytes(b"s3")
        os.symlink(f"..{number}", root / "..tmp")
        os.rename(root / "..tmp", root / "..data")
        if number:
            shutil.rmtree(root / f"..{number - 1}")

    generation(0)
    (root / "password").symlink_to("..data/password")
    stop = threading.Event()

    def swap():
        number = 0
        while not stop.is_set():
            number += 1
            generation(number)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(300):
            for outcome in (await _one("password", root=root), await _one(root / "password")):
                assert isinstance(outcome, Value), outcome
    finally:
        stop.set()
        swapping.join()


async def test_a_directory_that_becomes_a_link_meanwhile_leads_nowhere(root):
    (root / "sub/secret").write_bytes(b"inside")
    stop = threading.Event()

    def flip():
        while not stop.is_set():
            os.rename(root / "sub", root / "real")
            os.symlink("../outside", root / "sub")
            os.unlink(root / "sub")
            os.rename(root / "real", root / "sub")

    flipping = threading.Thread(target=flip)
    flipping.start()
    seen = set()
    try:
        for _ in range(500):
            outcome = await _one("sub/secret", root=root)
            seen.add(outcome.data.reveal() if isinstance(outcome, Value) else type(outcome))
    finally:
        stop.set()
        flipping.join()
    # A name that changes at every look is "try again", too: what counts is that nothing outside is ever read.
    assert seen <= {b"inside", ValueNotFound, AccessDenied, InvalidReference, BackendUnavailable}
    assert b"inside" in seen


def test_a_file_of_somebody_else_is_denied(open_tmp):
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    (open_tmp / "a").write_bytes(b"x")
    (open_tmp / "a").chmod(0o600)
    code = """
import asyncio, concurrent.futures.thread, json, os, sys
from pathlib import Path
from injector.backends.builtin.file import FileBackend
from injector.model.references import Reference
os.setgroups([]); os.setresgid(*[65532] * 3); os.setresuid(*[65532] * 3)
async def main():
    for root in (None, Path(sys.argv[1]).parent):
        backend = FileBackend(root=root, max_value_bytes=9)
        async for _, outcome in backend.fetch([Reference("FILE", sys.argv[1])], timeout=50):
            print(json.dumps([outcome.code, outcome.message]))
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(open_tmp / "a")], capture_output=True, text=True, timeout=60, check=False
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers == [["access-denied", f"the file {open_tmp}/a may not be read by uid 65532"]] * 2, done.stderr


async def test_every_reference_of_a_batch_is_answered_and_no_descriptor_stays_open(root):
    backend = FileBackend(root=root, max_value_bytes=100)
    references = [Reference("FILE", path) for path in ("sub/a", "none", "../outside/secret", "sub")]
    assert [answer async for answer in backend.fetch(references, timeout=PATIENCE)]
    before = sorted(os.listdir("/proc/self/fd"))
    answers = [answer async for answer in backend.fetch(references, timeout=PATIENCE)]
    assert [reference for reference, _ in answers] == references
    kinds = [type(outcome) for _, outcome in answers]
    assert kinds == [Value, ValueNotFound, AccessDenied, InvalidReference]
    assert sorted(os.listdir("/proc/self/fd")) == before
    await backend.close()
    await backend.close()


async def test_no_time_left_is_a_timeout(root):
    backend = FileBackend(root=root, max_value_bytes=100)
    with pytest.raises(CallTimeout, match="sub/a"):
        _ = [answer async for answer in backend.fetch([Reference("FILE", "sub/a")], timeout=0)]
