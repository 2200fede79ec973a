"""Real refusals of real file systems: full, read-only, busy, not ours."""

from __future__ import annotations

import os
import resource

import pytest

from injector.errors import OutputError
from injector.output.publisher import PublishRequest, publish


@pytest.mark.fault(26, "a full disk keeps the old file whole, and nothing temporary stays")
def test_a_full_disk_leaves_the_old_files_and_nothing_temporary(own_mounts, elsewhere, tmp_path):
    setup = f"mount -t tmpfs -o size=64k tmpfs '{tmp_path}'; printf old > '{tmp_path}/a'; printf old > '{tmp_path}/b'"
    requests = [(tmp_path / "a", b"new", None), (tmp_path / "b", b"x" * 100_000, None), (tmp_path / "c", b"1", None)]
    answer = elsewhere.publish(requests, setup=setup, look=tmp_path)
    assert answer["code"] == "output-unwritable"
    assert answer["message"] == f"cannot write {tmp_path}/b: no space is left on its file system"
    assert "sizeLimit" in answer["hint"]
    assert answer["files"] == {"a": b"old", "b": b"old"}


def test_a_disk_that_is_full_to_the_last_byte_keeps_its_files(own_mounts, elsewhere, tmp_path):
    setup = f"""mount -t tmpfs -o size=64k tmpfs '{tmp_path}'; printf old > '{tmp_path}/a'
    dd if=/dev/zero of='{tmp_path}/fill' bs=4k 2>/dev/null || true"""
    answer = elsewhere.publish([(tmp_path / "a", b"new", None)], setup=setup, look=tmp_path)
    assert "no space is left" in answer["message"]
    assert answer["files"]["a"] == b"old"
    assert sorted(answer["files"]) == ["a", "fill"]


@pytest.mark.fault(28, "a read-only file system is named, with what to do")
def test_a_read_only_file_system_is_named(own_mounts, elsewhere, tmp_path):
    setup = f"mount -t tmpfs -o ro tmpfs '{tmp_path}'"
    for root, target in ((None, tmp_path / "a"), (tmp_path, "d/a")):
        answer = elsewhere.publish([(target, b"1", root)], setup=setup)
        assert "the file system is read-only" in answer["message"]
        assert answer["hint"]


@pytest.mark.fault(39, "a file that is a mount is refused, and the remedy is named")
def test_a_file_that_is_a_mount_fails_and_says_what_was_switched_before(own_mounts, elsewhere, tmp_path):
    setup = f"""mount -t tmpfs tmpfs '{tmp_path}'
    for f in a b source; do printf old > '{tmp_path}'/$f; done
    mount --bind '{tmp_path}/source' '{tmp_path}/b'"""
    requests = [(tmp_path / "a", b"new", None), (tmp_path / "b", b"new", None)]
    answer = elsewhere.publish(requests, setup=setup, look=tmp_path)
    assert answer["code"] == "output-partly-written"
    assert "a mount of its own" in answer["message"]
    assert answer["message"].endswith(f"already switched to their new content: {tmp_path}/a")
    assert answer["files"] == {"a": b"new", "b": b"old", "source": b"old"}

    answer = elsewhere.publish(requests[::-1], setup=setup, look=tmp_path)
    assert answer["code"] == "output-unwritable"
    assert answer["files"] == {"a": b"old", "b": b"old", "source": b"old"}
    assert "write: in-place" in answer["hint"]


@pytest.mark.fault(39, "a file that is a mount of its own is overwritten where in-place writing was asked for")
def test_a_file_that_is_a_mount_is_written_in_place(own_mounts, elsewhere, tmp_path):
    setup = f"""mount -t tmpfs tmpfs '{tmp_path}'
    for f in b source; do printf 'old, and longer' > '{tmp_path}'/$f; done
    mount --bind '{tmp_path}/source' '{tmp_path}/b'"""
    for data in (b"new", b"new" * 9000):
        answer = elsewhere.publish([(tmp_path / "b", data, None)], setup=setup, look=tmp_path, write="in-place")
        assert answer["changed"] == [True]
        assert answer["files"] == {"b": data, "source": data}


@pytest.mark.fault(26, "a full disk keeps the old content of a file that is written in place")
def test_a_full_disk_keeps_the_old_content_of_a_file_written_in_place(own_mounts, elsewhere, tmp_path):
    setup = f"mount -t tmpfs -o size=64k tmpfs '{tmp_path}'; printf old > '{tmp_path}/a'"
    request = (tmp_path / "a", b"x" * 100_000, None)
    answer = elsewhere.publish([request], setup=setup, look=tmp_path, write="in-place")
    assert answer["message"] == f"cannot write {tmp_path}/a: no space is left on its file system"
    assert answer["files"] == {"a": b"old"}


@pytest.mark.fault(28, "a missing directory is named; below --output-dir it is made")
def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(OutputError, match=f"cannot write {tmp_path}/missing/a: its directory does not exist") as caught:
        publish([PublishRequest(tmp_path / "missing" / "a", b"1")])
    assert caught.value.hint == "create the directory first"
    assert not os.listdir(tmp_path)


@pytest.mark.fault(28, "a directory of somebody else is refused by name")
def test_a_directory_that_is_not_ours_is_refused_by_name(open_tmp, unprivileged, elsewhere):
    (open_tmp / "d").mkdir(mode=0o755)
    (open_tmp / "d/a").write_bytes(b"old")
    for root, target in ((None, open_tmp / "d/a"), (open_tmp / "d", "a"), (open_tmp / "d", "sub/a")):
        answer = elsewhere.publish([(target, b"new", root)], uid=unprivileged)
        assert answer["code"] == "output-unwritable"
        assert "uid 65532 is not permitted" in answer["message"]
        assert "fsGroup" in answer["hint"]
    assert os.listdir(open_tmp / "d") == ["a"]
    assert (open_tmp / "d/a").read_bytes() == b"old"


def test_unchanged_files_need_no_permission_to_write(open_tmp, unprivileged, elsewhere):
    (open_tmp / "d").mkdir(mode=0o755)
    (open_tmp / "d/a").write_bytes(b"same")
    (open_tmp / "d/a").chmod(0o600)
    os.chown(open_tmp / "d/a", unprivileged, unprivileged)
    assert elsewhere.publish([(open_tmp / "d/a", b"same", None)], uid=unprivileged)["changed"] == [False]


@pytest.mark.fault(28, "too few open files are an error with advice")
def test_too_few_open_files_are_an_error_with_advice(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        with pytest.raises(OutputError, match="too many files are open") as caught:
            publish([PublishRequest(tmp_path / "a", b"1")])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "ulimit" in caught.value.hint
