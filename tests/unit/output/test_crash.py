"""A publisher that is killed, at any moment, and the sweep after it."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

import pytest

from injector.output.publisher import PublishRequest, publish
from injector.output.staging import Staging, is_temporary, sweep


def _temporary(directory):
    return sorted(name for name in os.listdir(directory) if is_temporary(name))


def test_killed_at_any_moment_every_file_is_old_or_new_and_leftovers_are_swept(killed_publishers):
    kills = [run for run in killed_publishers if run["killed"]]
    assert len(kills) > 100
    assert [run["states"] for run in killed_publishers if not run["killed"]] == [["new"] * 4] * 3
    orphans = 0
    for run in kills:
        # All files are staged before the first is switched, and they are switched in order.
        switched = run["states"].count("new")
        assert run["states"] == ["new"] * switched + ["old"] * (4 - switched), run
        directories = [Path(run["root"], name) for name in "ab"]
        orphans += sum(bool(_temporary(directory)) for directory in directories)
        for directory in directories:
            sweep(directory)
            assert not _temporary(directory), run
    assert orphans > 10, "the kills did not hit the moments that matter"
    assert {run["states"].count("new") for run in kills} == {0, 1, 2, 3, 4}


def test_the_next_publish_sweeps_before_it_writes(tmp_path):
    dead = Staging(os.open(tmp_path, os.O_RDONLY))
    for _ in range(2):
        dead.close(dead.write(b"secret", 0o600)[1])
    assert len(_temporary(tmp_path)) == 2
    os.close(dead._anchor)  # as the kernel does for a killed process
    publish([PublishRequest(tmp_path / "a", b"1")])
    os.close(dead.directory)
    assert sorted(os.listdir(tmp_path)) == ["a"]


def test_the_files_of_a_living_writer_stay(tmp_path):
    living = Staging(os.open(tmp_path, os.O_RDONLY))
    names = [living.write(data, 0o600) for data in (b"1", b"2")]
    for _, descriptor in names:
        living.close(descriptor)
    assert sweep(tmp_path) == ()
    assert publish([PublishRequest(tmp_path / "other", b"3")])[0].changed
    living.switch(names[1][0], "b")
    living.switch(names[0][0], "a")
    living.discard()
    os.close(living.directory)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "other"]


@pytest.mark.fault(41, "leftovers of killed writers go, and whatever only looks like one stays")
def test_only_our_own_regular_files_are_swept(tmp_path):
    token = "0123456789abcdef"
    ours = [f".injector-{token}-0.tmp", f".injector-{token}-12.tmp"]
    decoys = [".injector-short-0.tmp", f".injector-{token}-0.tmp.bak", f"injector-{token}-0.tmp", ".a.swp"]
    for name in (*ours, *decoys):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / f".injector-{token}-2.tmp").mkdir()
    (tmp_path / f".injector-{token}-3.tmp").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / f".injector-{token}-4.tmp")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / f".injector-{token}-5.tmp"))
    stays = sorted([*decoys, *(f".injector-{token}-{n}.tmp" for n in (2, 3, 4, 5))])
    assert sorted(sweep(tmp_path)) == sorted(ours)
    assert sorted(os.listdir(tmp_path)) == stays


def test_an_anchor_that_is_no_file_of_ours_protects_nothing_and_loses_nothing(tmp_path):
    token = "0123456789abcdef"
    (tmp_path / f".injector-{token}-0.tmp").symlink_to("/etc/passwd")
    (tmp_path / f".injector-{token}-1.tmp").write_bytes(b"x")
    assert sweep(tmp_path) == ()
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.fault(41, "leftovers of another user stay")
def test_the_files_of_another_user_stay(open_tmp, unprivileged, elsewhere):
    open_tmp.chmod(0o777)
    for number in (0, 1):
        (open_tmp / f".injector-0123456789abcdef-{number}.tmp").write_bytes(b"x")
        (open_tmp / f".injector-0123456789abcdef-{number}.tmp").chmod(0o644)
    answer = elsewhere.publish([(open_tmp / "a", b"1", None)], uid=unprivileged)
    assert answer["changed"] == [True]
    assert len(_temporary(open_tmp)) == 2
    sweep(open_tmp)
    assert not _temporary(open_tmp)


def test_a_locked_anchor_in_another_process_is_respected(tmp_path):
    anchor = tmp_path / ".injector-0123456789abcdef-0.tmp"
    with anchor.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert sweep(tmp_path) == ()
    assert sweep(tmp_path) == (anchor.name,)
