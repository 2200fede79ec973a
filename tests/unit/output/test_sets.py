"""
A directory whose files are switched all at once.

The cases of names, updates and links are those of the kubelet's own tests (kubernetes, pkg/volume/util/
atomic_writer_test.go: TestValidatePath, TestWriteOnce, TestPathsToRemove, TestUpdate, TestMultipleUpdates,
TestCreateUserVisibleFiles, TestWriteAgainAfterUnexpectedExit).
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from injector.app.mounts import current_generation
from injector.errors import OutputError
from injector.output.sets import SetFile, check_name, publish_set, repair

BINARY = bytes(range(125))


def _publish(root, files, mode=0o644):
    return publish_set(
        root,
        [
            SetFile(name, data[0], mode=data[1]) if isinstance(data, tuple) else SetFile(name, data, mode=mode)
            for name, data in files.items()
        ],
    )


def _found(root):
    """The files as users see them: by the visible links."""
    found = {}
    for first in os.listdir(root):
        if first.startswith(".."):
            continue
        assert os.readlink(root / first) == f"..data/{first}"
        paths = [root / first] if (root / first).is_file() else [p for p in (root / first).rglob("*") if p.is_file()]
        for path in paths:
            found[str(path.relative_to(root))] = (path.read_bytes(), path.stat().st_mode & 0o777)
    return found


def _clean(files, mode=0o644):
    return {os.path.normpath(name): data if isinstance(data, tuple) else (data, mode) for name, data in files.items()}


def _generations(root):
    return [name for name in os.listdir(root) if name.startswith("..") and name != "..data"]


@pytest.mark.parametrize(
    "name",
    [
        "i/am/well/behaved.txt",
        "keepyourheaddownandfollowtherules.txt",
        ".dotfile",
        "a..b",
        "a/..b",
        "f" * 255,
        "\u2603",
    ],
)
def test_well_behaved_names_are_taken(name):
    assert check_name(name) == name


@pytest.mark.fault(35, "a name that leads out, or that generations use, is refused")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a/" * 2048 + "a", "longer than 4096 bytes"),
        ("a" * 256, "longer than 255 bytes"),
        ("\u2603" * 86, "longer than 255 bytes"),
        ("/dev/null", "absolute"),
        ("..sneaky.txt", "start with '..'"),
        ("..data", "start with '..'"),
        ("..data/a", "start with '..'"),
        ("hello/there/../../../../../../etc/passwd", "has a '..'"),
        ("hello/../etc/somethingbad", "has a '..'"),
        ("..", "has a '..'"),
        ("", "empty"),
        (".", "empty"),
        ("a\0b", "NUL"),
    ],
)
def test_a_name_against_the_kubelets_rules_is_refused_and_nothing_is_written(tmp_path, name, problem):
    with pytest.raises(OutputError, match=problem) as caught:
        publish_set(tmp_path, [SetFile("fine", b"1"), SetFile(name, b"2")])
    assert caught.value.hint
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        {"foo": b"foo", "bar": b"bar"},
        {"binary.bin": BINARY, ".binary.bin": BINARY},
        {"foo": (b"foo", 0o777), "bar": (b"bar", 0o400)},
        {"foo": b"foo", "bar": b"bar", ".dotfile": b"dotfile", ".dotfile.file": b"dotfile.file"},
        {"foo": (b"1", 0o407), "bar": (b"2", 0o440), ".dotfile": (b"3", 0o777), ".dotfile.file": (b"4", 0o666)},
        {"foo/bar.txt": b"foo/bar", "bar/zab.txt": b"bar/zab.txt"},
        {"foo/bar.txt": (b"foo/bar", 0o400), "bar/zab.txt": b"bar/zab.txt"},
        {"foo//bar.txt": b"foo//bar", "bar///bar/zab.txt": b"bar/../bar/zab.txt"},
        {"foo/bar.txt": b"1", "bar/zab.txt": b"2", "foo/blaz/bar.txt": b"3", "bar/zib/zab.txt": b"4"},
        {"./bar": b"1", "foo///bar": b"2"},
        {
            "foo.log": b"foo",
            "bar.zap": b"bar",
            ".dotfile": b"dotfile",
            "foo/bar.txt": b"foo/bar",
            "bar/zab.txt": b"bar/zab.txt",
            "foo/blaz/bar.txt": b"foo/blaz/bar",
            "bar/zib/zab.txt": (b"bar/zib/zab.txt", 0o400),
            "1/2/3/4/5/6/7/8/9/10/.dotfile.lib": (b"1-2-3-dotfile", 0o777),
        },
        {},
    ],
    ids=[
        "basic", "binary", "modes", "dotfiles", "dotfile-modes", "directories", "directory-modes", "slashes",
        "deeper", "unclean", "kitchen-sink", "nothing",
    ],
)  # fmt: skip
def test_a_first_set_is_seen_under_its_names(tmp_path, files):
    previous = os.umask(0o077)
    try:
        published = _publish(tmp_path / "new", files)
    finally:
        os.umask(previous)
    assert [each.changed for each in published] == [True] * len(files)
    assert _found(tmp_path / "new") == _clean(files)
    assert len(_generations(tmp_path / "new")) == 1
    for directory, _, _ in os.walk(tmp_path / "new" / os.readlink(tmp_path / "new" / "..data")):
        assert Path(directory).stat().st_mode & 0o777 == 0o755


_FOO_BAR = {"foo/bar.txt": b"foo", "bar/zab.txt": b"bar"}


@pytest.mark.parametrize(
    "sets",
    [
        [{"foo": b"foo", "bar": b"bar"}, {"foo": b"foo2", "bar": (b"bar2", 0o640)}],
        [_FOO_BAR, _FOO_BAR | {"blu/zip.txt": b"zip"}],
        [_FOO_BAR, _FOO_BAR | {"blu/two/2/3/4/5/zip.txt": b"zip"}],
        [_FOO_BAR, _FOO_BAR | {"bar/2/3/4/5/zip.txt": b"zip"}],
        [_FOO_BAR, {"foo/bar.txt": b"foo"}],
        [{"foo/bar.txt": b"foo", "bar/1/2/3/zab.txt": b"bar"}, {"foo/bar.txt": b"foo"}],
        [
            {"foo/bar.txt": b"foo", "bar/1/2/sip.txt": b"sip", "bar/1/2/3/zab.txt": b"bar"},
            {"foo/bar.txt": b"foo", "bar/1/2/sip.txt": b"sip"},
        ],
        [{"foo/bar.txt": b"foo", "bar/1/2/sip.txt": b"sip", "bar/1/2/3/4/5/6zab.txt": b"bar"}, {}],
        [{"foo/bar.txt": b"foo"}, {"bar/baz.txt": b"baz"}],
        [{"foo": b"1", "bar": b"1"}, {"foo": (b"2", 0o400), "bar": (b"2", 0o400)}, {"foo": (b"3", 0o600)}],
        [{"a": b"file"}, {"a/b": b"in a directory of that name"}, {"a": b"file"}],
        [_FOO_BAR, {}, _FOO_BAR],
    ],
)
def test_each_set_replaces_the_one_before_with_all_that_it_had(tmp_path, sets):
    before = {}
    for files in sets:
        published = _publish(tmp_path, files)
        assert _found(tmp_path) == _clean(files)
        now = _clean(files)
        assert [each.changed for each in published] == [before.get(name) != now[name] for name in now]
        assert [each.path for each in published] == [tmp_path / name for name in now]
        assert len(_generations(tmp_path)) == 1
        before = now


@pytest.mark.fault(38, "an unchanged set is not written again: same generation, same inodes, same times")
@pytest.mark.parametrize("files", [{"foo": b"foo", "bar": b"bar"}, {"foo/bar.txt": b"foo", "bar/zab.txt": b"bar"}, {}])
def test_the_same_set_is_not_written_again(tmp_path, files):
    _publish(tmp_path, files)
    before = [os.lstat(tmp_path / name) for name in [".", *sorted(os.listdir(tmp_path))]]
    assert [each.changed for each in _publish(tmp_path, files)] == [False] * len(files)
    assert [os.lstat(tmp_path / name) for name in [".", *sorted(os.listdir(tmp_path))]] == before


def test_two_results_for_one_name_are_refused(tmp_path):
    with pytest.raises(OutputError, match="two results go to one file: a/b"):
        publish_set(tmp_path, [SetFile("a//b", b"1"), SetFile("a/b", b"2")])
    with pytest.raises(OutputError, match="a is a file, and the directory of a/b/c"):
        publish_set(tmp_path, [SetFile("a/b/c", b"1"), SetFile("a", b"2")])
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("kind", ["file", "directory", "link", "dangling", "other-link"])
def test_what_stands_where_a_link_must_go_is_not_touched(tmp_path, kind):
    root = tmp_path / "root"
    _publish(root, {"a": b"1"})
    (tmp_path / "elsewhere").write_bytes(b"mine")
    where = root / "b"
    match kind:
        case "file":
            where.write_bytes(b"mine")
        case "directory":
            where.mkdir()
            (where / "c").write_bytes(b"mine")
        case "link":
            where.symlink_to("../elsewhere")
        case "dangling":
            where.symlink_to("nowhere")
        case "other-link":
            where.symlink_to("..data/a")
    before = sorted(os.listdir(root))
    with pytest.raises(OutputError, match="b is there and is not a link of a set") as caught:
        _publish(root, {"a": b"2", "b/c": b"3"})
    assert caught.value.hint == "move it away, or publish to a directory of its own"
    assert sorted(os.listdir(root)) == before
    assert (root / "a").read_bytes() == b"1"
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"
    repair(root)
    assert sorted(os.listdir(root)) == before
    _publish(root, {"a": b"2"})  # what is in nobody's way stays
    assert max(os.listdir(root)) == "b"


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_a_data_that_is_no_link_is_refused(tmp_path, make):
    make(tmp_path / "..data")
    with pytest.raises(OutputError, match=r"\.\.data is there and is not a link"):
        _publish(tmp_path, {"a": b"1"})
    assert os.listdir(tmp_path) == ["..data"]


def test_a_data_link_that_leads_elsewhere_is_replaced_and_its_directory_stays(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_bytes(b"mine")
    root = tmp_path / "root"
    root.mkdir()
    (root / "..data").symlink_to(elsewhere)
    _publish(root, {"a": b"1"})
    assert _found(root) == {"a": (b"1", 0o644)}
    assert (elsewhere / "mine").read_bytes() == b"mine"


@pytest.mark.fault(31, "whatever a killed writer left is put right at the next start")
@pytest.mark.parametrize("cure", ["repair", "publish"])
def test_leftovers_of_every_kind_are_put_right_and_nothing_else_is_touched(tmp_path, cure):
    files = {"foo/bar.txt": b"1", "baz": b"2"}
    _publish(tmp_path, files)
    token = "0123456789abcdef"
    half = tmp_path / f"..2020_01_01_00_00_00.{token}"
    (half / "foo").mkdir(parents=True)
    (half / "foo" / "bar.txt").write_bytes(b"half a secr")
    (tmp_path / f"..data_tmp-{token}").symlink_to(half.name)
    (tmp_path / "..data_tmp-fedcba9876543210").symlink_to("..2020_01_01_00_00_00.fedcba9876543210")
    (tmp_path / "gone").symlink_to("..data/gone")
    (tmp_path / f".injector-{token}-0.tmp").write_bytes(b"secret")
    (tmp_path / "baz").unlink()
    decoys = ["..2020_01_01_00_00_00.12345", "..data_tmp", "..data_tmp-x", "..2020_01_01.0123456789abcdef", "notes"]
    for name in decoys:
        (tmp_path / name).mkdir()
    if cure == "repair":
        done = repair(tmp_path)
        assert set(done) >= {half.name, "gone", "baz"}
        assert repair(tmp_path) == ()
    else:
        assert not any(each.changed for each in _publish(tmp_path, files))
    for name in decoys:
        (tmp_path / name).rmdir()
    assert _found(tmp_path) == _clean(files)
    assert len(os.listdir(tmp_path)) == 4


def test_nothing_to_repair_where_there_is_nothing(tmp_path):
    assert repair(tmp_path / "missing") == ()
    assert repair(tmp_path) == ()
    assert not os.listdir(tmp_path)


def test_a_generation_that_is_being_made_stays(tmp_path):
    name = "..2020_01_01_00_00_00.0123456789abcdef"
    (tmp_path / name).mkdir()
    (tmp_path / "..data_tmp-0123456789abcdef").symlink_to(name)
    descriptor = os.open(tmp_path / name, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    _publish(tmp_path, {"a": b"1"})
    assert repair(tmp_path) == ()
    assert {name, "..data_tmp-0123456789abcdef"} < set(os.listdir(tmp_path))
    os.close(descriptor)
    assert set(repair(tmp_path)) == {name, "..data_tmp-0123456789abcdef"}


def test_who_holds_an_old_file_open_keeps_reading_it(tmp_path):
    _publish(tmp_path, {"a": b"old"})
    with (tmp_path / "a").open("rb") as held:
        _publish(tmp_path, {"a": b"new"})
        assert held.read() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_around_the_swap_leaves_one_whole_set(tmp_path, monkeypatch, after):
    _publish(tmp_path, {"a": b"old", "b": b"old"})
    rename = os.rename

    def interrupted(*arguments, **keywords):  # as by a signal; no real one hits this moment on demand
        if after:
            rename(*arguments, **keywords)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _publish(tmp_path, {"a": b"new", "c": b"new"})
    monkeypatch.undo()
    expected = {"a": b"new", "c": b"new"} if after else {"a": b"old", "b": b"old"}
    repair(tmp_path)
    assert _found(tmp_path) == _clean(expected)
    assert len(_generations(tmp_path)) == 1


def test_a_set_keeps_the_group_of_a_setgid_directory(tmp_path):
    others = [group for group in os.getgroups() if group != os.getegid()] if os.geteuid() else [4242]
    if not others:
        pytest.skip("needs a second group")
    tmp_path.chmod(0o2770)
    os.chown(tmp_path, -1, others[0])
    tmp_path.chmod(0o2770)
    _publish(tmp_path, {"a": b"1", "d/e/f": b"2"}, mode=0o640)
    for name in ("a", "d", "d/e", "d/e/f"):
        assert (tmp_path / name).stat().st_gid == others[0], name


_READER = """
import os, sys
from pathlib import Path
from injector.app.mounts import current_generation
root = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
whole = 0
print("ready", flush=True)
while not os.path.exists(sys.argv[2]):
    generation = current_generation(Path(sys.argv[1]), root)
    if generation is None:
        sys.exit("there is no set")
    seen = set()
    try:
        for name in ("a", "d/b", "d/c", "e"):
            descriptor = os.open(name, os.O_RDONLY, dir_fd=generation.descriptor)
            seen.add(os.read(descriptor, 100))
            os.close(descriptor)
    except FileNotFoundError:
        continue  # removed meanwhile: there is a newer one
    if len(seen) != 1:
        sys.exit(f"mixed: {seen}")
    whole += 1
print(whole)
"""


def test_a_reader_of_one_generation_never_sees_two_in_a_thousand_swaps(tmp_path):
    names = ("a", "d/b", "d/c", "e")
    root, stop = tmp_path / "root", tmp_path / "stop"
    _publish(root, dict.fromkeys(names, b"0"))
    with subprocess.Popen(
        [sys.executable, "-c", _READER, str(root), str(stop)], stdout=subprocess.PIPE, text=True
    ) as reader:
        try:
            assert reader.stdout.readline() == "ready\n"
            sync, os.fsync = os.fsync, lambda _: None  # a thousand swaps, not a thousand syncs
            try:
                for number in range(1, 1001):
                    _publish(root, dict.fromkeys(names, b"%d" % number))
            finally:
                os.fsync = sync
            stop.touch()
            output, _ = reader.communicate(timeout=60)
        finally:
            with suppress(ProcessLookupError):
                reader.kill()
    assert reader.returncode == 0
    assert int(output) > 10
    assert len(_generations(root)) == 1


def test_no_descriptor_stays_open(tmp_path):
    _publish(tmp_path, {"a": b"0", "d/e": b"1"})
    before = sorted(os.listdir("/proc/self/fd"))
    for number in range(3):
        _publish(tmp_path, {"a": b"%d" % number, "d/e": b"1"})
        repair(tmp_path)
        with pytest.raises(OutputError):
            _publish(tmp_path, {"..": b""})
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_the_sidecars_own_reader_reads_what_was_published(tmp_path):
    _publish(tmp_path, {"a": b"1"})
    visible = os.open(tmp_path, os.O_RDONLY)
    try:
        generation = current_generation(tmp_path, visible)
        assert generation is not None
        assert generation.is_current()
        assert generation.holds("a", visible)
        _publish(tmp_path, {"a": b"2"})
        assert not generation.is_current()
    finally:
        os.close(visible)


def test_the_name_of_a_generation_is_its_time(tmp_path):
    early = time.strftime("..%Y_%m_%d_%H_%M_%S")
    _publish(tmp_path, {"a": b"1"})
    assert early <= _generations(tmp_path)[0].rpartition(".")[0] <= time.strftime("..%Y_%m_%d_%H_%M_%S")
