"""Files that are overwritten instead of replaced."""

from __future__ import annotations

import os
import resource
import signal

import pytest

from injector.errors import OutputError, OutputPartlyWritten
from injector.model.policy import WriteMode
from injector.output.publisher import PublishRequest, publish


def _request(path, data, **more):
    return PublishRequest(path, data, write=WriteMode.IN_PLACE, **more)


@pytest.fixture
def largest_file():
    """No file may grow beyond this many bytes: a real failure in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield limit
    limit(soft)
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("new", [b"", b"n", b"new" * 10_000])
def test_the_file_stays_the_same_one_and_gets_its_new_content(tmp_path, new):
    file = tmp_path / "a"
    file.write_bytes(b"old" * 1000)
    inode = file.stat().st_ino
    assert publish([_request(file, new)])[0].changed
    assert (file.read_bytes(), file.stat().st_ino, file.stat().st_mode & 0o777) == (new, inode, 0o600)
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.fault(38, "an unchanged file that is written in place is not written again")
def test_the_same_content_is_not_written_again(tmp_path):
    publish([_request(tmp_path / "a", b"1")])
    before = (tmp_path / "a").stat()
    assert not publish([_request(tmp_path / "a", b"1")])[0].changed
    assert (tmp_path / "a").stat() == before


def test_a_missing_file_is_made(tmp_path):
    assert publish([_request(tmp_path / "a", b"1", mode=0o640)])[0].changed
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "a").stat().st_mode & 0o777) == (b"1", 0o640)


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_is_refused_and_what_it_leads_to_is_not_touched(tmp_path, dangling):
    if not dangling:
        (tmp_path / "elsewhere").write_bytes(b"mine")
    (tmp_path / "a").symlink_to("elsewhere")
    with pytest.raises(OutputError, match="in place: it is a symbolic link"):
        publish([_request(tmp_path / "a", b"1")])
    assert os.readlink(tmp_path / "a") == "elsewhere"
    assert dangling or (tmp_path / "elsewhere").read_bytes() == b"mine"


def test_a_file_with_other_names_is_refused(tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    os.link(tmp_path / "mine", tmp_path / "a")
    with pytest.raises(OutputError, match=r"it has 2 names \(hard links\)"):
        publish([_request(tmp_path / "a", b"1")])
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_content_that_does_not_fit_leaves_the_old_one(tmp_path, largest_file):
    file = tmp_path / "a"
    file.write_bytes(b"old")
    file.chmod(0o640)
    largest_file(1000)
    with pytest.raises(OutputError, match="larger than the file size limit"):
        publish([_request(file, b"x" * 2000)])
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"old", 0o640)


@pytest.mark.parametrize("broken", [OSError(5, "broken"), KeyboardInterrupt()])
def test_an_error_in_the_middle_puts_the_old_content_and_mode_back(tmp_path, monkeypatch, broken):
    file = tmp_path / "a"
    file.write_bytes(b"old and longer than the new one")
    file.chmod(0o640)
    write, calls = os.pwrite, []

    def break_once(descriptor, data, offset):  # no real disk breaks in the middle of one call on demand
        calls.append(offset)
        if len(calls) == 1:
            return write(descriptor, data[:3], offset)
        if len(calls) == 2:
            raise broken
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", break_once)
    expected = OutputError if isinstance(broken, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        publish([_request(file, b"new content")])
    if expected is OutputError:
        assert caught.value.message.endswith("input/output error; its old content is back")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"old and longer than the new one", 0o640)


def test_what_can_neither_be_written_nor_restored_is_told(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"old")

    def broken(*_):  # no real disk fails every write after it has read
        raise OSError(5, "broken")

    monkeypatch.setattr(os, "pwrite", broken)
    with pytest.raises(OutputPartlyWritten, match="nor can its old content be put back") as caught:
        publish([_request(file, b"new")])
    assert caught.value.hint


def test_a_failure_leaves_the_files_that_were_to_be_replaced(tmp_path):
    (tmp_path / "b").symlink_to("nowhere")
    with pytest.raises(OutputError, match="symbolic link"):
        publish([PublishRequest(tmp_path / "a", b"1"), _request(tmp_path / "b", b"1")])
    assert os.listdir(tmp_path) == ["b"]


def test_of_several_the_ones_that_are_written_already_are_named(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "b").symlink_to("nowhere")
    with pytest.raises(OutputPartlyWritten, match=f"already switched to their new content: {tmp_path}/a"):
        publish([_request(tmp_path / "a", b"1"), _request(tmp_path / "b", b"1")])


def test_a_file_of_somebody_else_is_not_given_a_mode(open_tmp, unprivileged, elsewhere):
    open_tmp.chmod(0o755)
    file = open_tmp / "a"
    file.write_bytes(b"old")
    file.chmod(0o666)
    answer = elsewhere.publish([(file, b"new", None)], uid=unprivileged, write="in-place")
    assert answer["message"].startswith(f"cannot set the mode of {file}: it does not belong to uid {unprivileged}")
    assert "`mode`" in answer["hint"]
    assert file.read_bytes() == b"old"
    answer = elsewhere.publish([(file, b"new", None)], uid=unprivileged, write="in-place", mode=0o666)
    assert answer["changed"] == [True]
    assert file.read_bytes() == b"new"
