"""What `publish` promises, on a real file system."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from injector.errors import OutputError, OutputOutsideRoot
from injector.output.publisher import PublishRequest, publish


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def _tree(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_files_appear_with_their_bytes_and_their_mode(tmp_path):
    done = publish(
        [
            PublishRequest(tmp_path / "a", b"\0one"),
            PublishRequest(tmp_path / "b", b"", mode=0o640),
            PublishRequest(tmp_path / "c", b"x" * 3_000_000, mode=0o400),
        ]
    )
    assert [each.changed for each in done] == [True, True, True]
    assert [each.path.name for each in done] == ["a", "b", "c"]
    assert [(tmp_path / name).read_bytes() for name in "abc"] == [b"\0one", b"", b"x" * 3_000_000]
    assert [_mode(tmp_path / name) for name in "abc"] == [0o600, 0o640, 0o400]
    assert _tree(tmp_path) == ["a", "b", "c"]


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_umask_has_no_say_in_a_files_mode(tmp_path, umask):
    before = os.umask(umask)
    try:
        publish([PublishRequest(tmp_path / "a", b"1", mode=0o644), PublishRequest(tmp_path / "b", b"2")])
    finally:
        os.umask(before)
    assert (_mode(tmp_path / "a"), _mode(tmp_path / "b")) == (0o644, 0o600)


@pytest.mark.fault(38, "an unchanged file is not written again: same inode, same times")
def test_the_same_bytes_and_mode_are_not_written_again(tmp_path):
    target = tmp_path / "a"
    publish([PublishRequest(target, b"same")])
    os.utime(target, ns=(1, 1))
    before = target.stat()
    (done,) = publish([PublishRequest(target, b"same")])
    assert not done.changed
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, 1)


def test_another_mode_alone_is_a_change(tmp_path):
    target = tmp_path / "a"
    publish([PublishRequest(target, b"same")])
    (done,) = publish([PublishRequest(target, b"same", mode=0o640)])
    assert done.changed
    assert _mode(target) == 0o640


def test_a_mode_beyond_permission_bits_is_refused():
    with pytest.raises(ValueError, match="4755"):
        PublishRequest(Path("a"), b"", mode=0o4755)


def test_the_data_does_not_show_in_the_requests_text():
    assert "hunter2" not in repr(PublishRequest(Path("a"), b"hunter2"))


def test_a_reader_never_sees_half_a_file(tmp_path):
    target = tmp_path / "a"
    contents = [bytes([65 + n]) * 200_000 for n in range(2)]
    publish([PublishRequest(target, contents[0])])
    stop = threading.Event()
    torn = []

    def look():
        while not stop.is_set():
            data = target.read_bytes()
            if data not in contents:
                torn.append(len(data))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for turn in range(150):
            publish([PublishRequest(target, contents[turn % 2])])
    finally:
        stop.set()
        reader.join()
    assert not torn


def test_a_temporary_file_is_never_wider_than_its_final_mode(tmp_path, monkeypatch):
    seen = []
    real = {name: getattr(os, name) for name in ("fchmod", "write", "fsync", "rename")}

    def watching(name):
        def call(*args, **kwargs):
            for path in tmp_path.iterdir():
                seen.append((name, _mode(path), path.stat().st_size))
            return real[name](*args, **kwargs)

        return call

    for name in real:
        monkeypatch.setattr(os, name, watching(name))
    publish([PublishRequest(tmp_path / "a", b"secret", mode=0o440)])
    monkeypatch.undo()
    assert {name for name, _, _ in seen} == set(real)
    assert all(not mode & ~0o440 for _, mode, _ in seen)
    assert all(mode == 0o440 for _, mode, size in seen if size), "content before the final mode"


def test_a_failure_while_staging_leaves_everything_as_it_was(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "blocked").mkdir()
    with pytest.raises(OutputError, match="blocked: a directory has that name"):
        publish([PublishRequest(tmp_path / "a", b"new"), PublishRequest(tmp_path / "blocked", b"new")])
    assert (tmp_path / "a").read_bytes() == b"old"
    assert _tree(tmp_path) == ["a", "blocked"]


def test_directories_made_for_a_call_that_fails_go_away_again(tmp_path):
    root = tmp_path / "new" / "root"
    with pytest.raises(OutputOutsideRoot):
        publish(
            [PublishRequest(Path("deep/er/a"), b"1", root=root), PublishRequest(Path("../b"), b"2", root=root)],
        )
    assert _tree(tmp_path) == []


def test_two_results_for_one_file_are_refused(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d")
    with pytest.raises(OutputError, match="two results go to one file"):
        publish([PublishRequest(tmp_path / "d/a", b"1"), PublishRequest(tmp_path / "link/a", b"2")])
    assert _tree(tmp_path) == ["d", "link"]


def test_a_link_is_replaced_and_what_it_led_to_is_not_touched(tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    for name, leads_to in (("file", other), ("nothing", tmp_path / "none"), ("circle", tmp_path / "circle")):
        (tmp_path / name).symlink_to(leads_to)
        publish([PublishRequest(tmp_path / name, b"new")])
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_bytes() == b"new"
    assert other.read_bytes() == b"precious"


def test_a_link_with_the_very_content_is_replaced_too(tmp_path):
    (tmp_path / "other").write_bytes(b"same")
    (tmp_path / "other").chmod(0o600)
    (tmp_path / "a").symlink_to("other")
    (done,) = publish([PublishRequest(tmp_path / "a", b"same")])
    assert done.changed
    assert not (tmp_path / "a").is_symlink()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("missing/a", "its directory does not exist"),
        ("file/a", "a part of its path is a file"),
        ("n" * 256, "the name has 256 bytes"),
        ("dir", "a directory has that name"),
        ("socket", "nothing reads from it"),
        ("pipe", "nothing reads from it"),
        ("loop/a", "too many symbolic links"),
        ("..", "is not the name of a file"),
        ("nul\0byte", "is not a path"),
    ],
)
def test_a_target_that_cannot_be_written_says_why_and_what_to_do(tmp_path, target, message):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "dir").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        with pytest.raises(OutputError, match=message) as caught:
            publish([PublishRequest(tmp_path / "first", b"1"), PublishRequest(tmp_path / target, b"2")])
    assert caught.value.hint
    assert _tree(tmp_path) == ["dir", "file", "loop", "pipe", "socket"]


def test_a_name_of_255_bytes_is_published(tmp_path):
    name = "\N{SNOWMAN}" * 85
    publish([PublishRequest(tmp_path / name, b"1"), PublishRequest(tmp_path / "b", b"2")])
    assert (tmp_path / name).read_bytes() == b"1"


def test_devices_are_written_to_and_stay_devices():
    (done,) = publish([PublishRequest(Path("/dev/null"), b"gone")])
    assert done.changed
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_full_device_is_an_error():
    with pytest.raises(OutputError, match="no space is left"):
        publish([PublishRequest(Path("/dev/full"), b"x")])


def test_a_named_pipe_is_written_to_for_its_reader(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = os.urandom(300_000)  # more than a pipe holds: the writer has to wait for the reader
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    waiting = os.open(pipe, os.O_WRONLY)  # without any writer the reader would be done at once
    os.set_blocking(reader, True)
    got = []

    def read_all():
        with os.fdopen(reader, "rb") as stream:
            got.append(stream.read())

    thread = threading.Thread(target=read_all)
    thread.start()
    publish([PublishRequest(pipe, data), PublishRequest(tmp_path / "a", b"1")])
    os.close(waiting)
    thread.join()
    assert got == [data]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("kind", ["file", "socket"])
def test_a_name_of_an_own_descriptor_is_written_to_through_it(tmp_path, kind):
    there, here = socket.socketpair()
    file = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    descriptor = file if kind == "file" else here.fileno()
    try:
        publish([PublishRequest(Path(f"/dev/fd/{descriptor}"), b"to the descriptor")])
        got = os.pread(file, 100, 0) if kind == "file" else there.recv(100)
    finally:
        os.close(file)
        here.close()
        there.close()
    assert got == b"to the descriptor"


def test_a_link_to_a_device_is_followed_only_outside_of_a_root(tmp_path):
    (tmp_path / "null").symlink_to("/dev/null")
    publish([PublishRequest(tmp_path / "null", b"gone")])
    assert (tmp_path / "null").is_symlink()
    publish([PublishRequest(Path("null"), b"kept", root=tmp_path)])
    assert not (tmp_path / "null").is_symlink()
    assert (tmp_path / "null").read_bytes() == b"kept"


def test_one_call_syncs_each_file_and_each_directory_once(tmp_path, monkeypatch):
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    real, synced = os.fsync, []
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), real(fd))[1])
    publish([PublishRequest(Path(d, n), b"1", root=tmp_path) for d in "xy" for n in "abc"])
    assert len(synced) == 6 + 2
    assert len(set(synced)) == 8
    synced.clear()
    publish([PublishRequest(Path(d, n), b"1", root=tmp_path) for d in "xy" for n in "abc"])
    assert synced == []


def test_every_file_is_on_disk_before_the_first_takes_its_name(tmp_path, monkeypatch):
    order = []
    real = {name: getattr(os, name) for name in ("fsync", "rename")}
    for name in real:
        monkeypatch.setattr(os, name, lambda *args, name=name, **kw: (order.append(name), real[name](*args, **kw))[1])
    publish([PublishRequest(Path(f"f{n}"), b"1", root=tmp_path) for n in range(100)])
    assert order == ["fsync"] * 100 + ["rename"] * 100 + ["fsync"]


def test_one_file_among_many_that_the_disk_refuses_costs_all_and_is_named(tmp_path, monkeypatch):
    for n in range(20):
        (tmp_path / f"f{n}").write_bytes(b"old")
    real = os.fsync

    def refusing(descriptor):
        if os.fstat(descriptor).st_size == 13:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)
    with pytest.raises(OutputError, match=r"f13: the disk reports"):
        publish([PublishRequest(Path(f"f{n}"), b"x" * n, root=tmp_path) for n in range(20)])
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"old"}
    assert len(_tree(tmp_path)) == 20


def test_where_there_are_no_more_threads_files_are_synced_one_by_one(tmp_path, monkeypatch):
    def none(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    publish([PublishRequest(Path(f"f{n}"), b"%d" % n, root=tmp_path) for n in range(20)])
    assert (tmp_path / "f19").read_bytes() == b"19"
    assert len(_tree(tmp_path)) == 20


def test_a_thousand_files_need_few_open_ones(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    inuse = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (inuse + 16, hard))
    try:
        publish([PublishRequest(Path(f"f{n}"), b"%d" % n, root=tmp_path) for n in range(1000)])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (tmp_path / "f999").read_bytes() == b"999"
    assert len(_tree(tmp_path)) == 1000


def test_no_descriptor_stays_open(tmp_path):
    before = sorted(os.listdir("/proc/self/fd"))
    publish([PublishRequest(Path("d/a"), b"1", root=tmp_path), PublishRequest(tmp_path / "b", b"1")])
    with pytest.raises(OutputError):
        publish([PublishRequest(Path("d/c"), b"1", root=tmp_path), PublishRequest(tmp_path, b"1")])
    assert sorted(os.listdir("/proc/self/fd")) == before
