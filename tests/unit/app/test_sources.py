"""Which templates there are, what they are called, and what they hold."""

from __future__ import annotations

import io
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

from injector.app.sources import collect, gather, output_name, read
from injector.errors import InputCollision, InputError, InputLoop, InputNotFound, RunFailed


@pytest.fixture
def open_tmp():
    """A temporary directory that every user can reach: pytest closes its own to others, also while tests run."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


def _outputs(inputs, output_dir=Path("/nonexistent"), **more):
    return [file.output for file in collect([str(each) for each in inputs], output_dir=output_dir, **more)]


def _write(directory, *names):
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)


def _generation(mount, number, files):
    """What the kubelet does for one update of a ConfigMap."""
    new = mount / f"..2026_{number}"
    new.mkdir()
    for name, content in files.items():
        (new / name).parent.mkdir(exist_ok=True)
        (new / name).write_bytes(content)
    old = os.readlink(mount / "..data") if (mount / "..data").is_symlink() else None
    os.symlink(new.name, mount / "..data_tmp")
    os.rename(mount / "..data_tmp", mount / "..data")
    for name in {name.split("/")[0] for name in files}:
        if not (mount / name).is_symlink():
            (mount / name).symlink_to(f"..data/{name}")
    if old:
        shutil.rmtree(mount / old)


@pytest.fixture
def mount(tmp_path):
    directory = tmp_path / "mount"
    directory.mkdir()
    _generation(directory, 0, {"a.tmpl": b"0", "b": b"0", "sub/c": b"0"})
    return directory


def test_files_are_taken_in_the_order_given(tmp_path):
    _write(tmp_path, "b.yaml", "a.conf.tmpl")
    inputs = [str(tmp_path / "b.yaml"), str(tmp_path / "a.conf.tmpl")]
    files = collect(inputs, output_dir=None)
    assert [(file.name, file.input, file.output, file.in_directory) for file in files] == [
        (inputs[0], inputs[0], "b.yaml", False),
        (inputs[1], inputs[1], "a.conf", False),
    ]
    assert read(files[0]).data == b"b.yaml"
    assert read(files[0]).name == inputs[0]


def test_a_directory_is_walked_sorted_and_keeps_its_tree(tmp_path):
    _write(tmp_path, "b.yaml.tmpl", "a/z.cm", "a/b/c.tpl", ".env", "a.b/x", "B", "none/.tmpl")
    (tmp_path / "empty").mkdir()
    files = collect([str(tmp_path)], output_dir=tmp_path / "out")
    assert [file.output for file in files] == [".env", "B", "a/b/c", "a/z", "a.b/x", "b.yaml", "none/.tmpl"]
    assert all(file.in_directory for file in files)
    assert files[2].name == str(tmp_path / "a/b/c.tpl")
    assert [read(file).data.decode() for file in files][2] == "a/b/c.tpl"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.tmpl", "a"), ("a.tpl", "a"), ("a.cm", "a"), ("a.yaml.tmpl", "a.yaml"), ("a.tmpl.tmpl", "a.tmpl"), ("a", "a"),
     (".tmpl", ".tmpl"), ("a.TMPL", "a.TMPL"), ("cm", "cm"), ("a.cm.bak", "a.cm.bak")],
)  # fmt: skip
def test_one_template_suffix_is_dropped(name, expected):
    assert output_name(name) == expected


def test_names_with_two_dots_are_passed_over_and_visible_links_followed(mount, tmp_path):
    _write(tmp_path, "other/x", "mount/..hidden/y", "plain")
    (mount / "linked").symlink_to(tmp_path / "other")
    (mount / "file").symlink_to(tmp_path / "plain")
    files = collect([str(mount)], output_dir=tmp_path / "out")
    assert [file.output for file in files] == ["a", "b", "file", "linked/x", "sub/c"]
    assert [read(file).data for file in files] == [b"0", b"0", b"plain", b"other/x", b"0"]
    assert [file.generation is not None for file in files] == [True, True, False, False, True]


@pytest.mark.fault(34, "an error that names the circle")
def test_a_circle_of_directories_is_an_error_that_names_it(tmp_path):
    _write(tmp_path, "a/b/c")
    (tmp_path / "a/b/up").symlink_to("../..")
    with pytest.raises(InputLoop, match="a/b/up leads back"):
        _outputs([tmp_path])


def test_one_directory_by_two_ways_is_no_circle(tmp_path):
    _write(tmp_path, "a/c")
    (tmp_path / "b").symlink_to("a")
    assert _outputs([tmp_path]) == ["a/c", "b/c"]


def test_links_that_fan_out_without_end_are_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr("injector.app.tree._MOST_ENTRIES", 5000)
    for level in range(30):
        _write(tmp_path, f"{level}/x")
        for turn in range(3):
            (tmp_path / f"{level}/n{turn}").symlink_to(f"../{level + 1}")
    (tmp_path / "30").mkdir()
    with pytest.raises(InputError, match="more than 5000 entries"):
        _outputs([tmp_path / "0"])


def test_all_that_is_wrong_with_all_inputs_is_told_together(tmp_path):
    _write(tmp_path, "d/fine")
    (tmp_path / "d/dangling").symlink_to("nowhere")
    (tmp_path / "d/loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    inputs = ["d", "none", "dangling", "d/fine/below", "nul\0", "-", "-"]
    with pytest.raises(RunFailed) as caught:
        _outputs([tmp_path / name if name != "-" else name for name in inputs])
    assert [(type(error).__name__, error.message) for error in caught.value.errors] == [
        ("InputError", f"{tmp_path}/d/dangling is a symbolic link to nothing"),
        ("InputLoop", f"{tmp_path}/d/loop: its symbolic links lead in a circle"),
        ("InputNotFound", f"{tmp_path}/none does not exist"),
        ("InputNotFound", f"{tmp_path}/dangling is a symbolic link to nothing"),
        ("InputError", f"the file {tmp_path}/d/fine/below cannot be read: Not a directory"),
        ("InputError", f"{tmp_path}/nul\N{REPLACEMENT CHARACTER} is not a path"),
        ("UsageError", "standard input has no name below an output directory"),
        ("UsageError", "standard input has no name below an output directory"),
        ("UsageError", "standard input (-) can be read only once"),
    ]


@pytest.mark.fault(34, "left out, with a warning; nothing waits for a pipe")
def test_pipes_sockets_and_devices_of_a_directory_are_left_out_with_a_warning(tmp_path):
    _write(tmp_path, "a")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    warnings = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assert _outputs([tmp_path], warn=warnings.append) == ["a"]
        with pytest.raises(InputError, match="is a socket"):
            _outputs([tmp_path / "socket"])
    assert [warning.rpartition("but a ")[2] for warning in warnings] == ["device", "named pipe", "socket"]


def test_a_directory_without_templates_is_worth_a_warning(tmp_path):
    warnings = []
    assert _outputs([tmp_path], warn=warnings.append) == []
    assert warnings == [f"{tmp_path} holds no templates"]


def test_the_output_directory_inside_of_an_input_is_not_walked(tmp_path):
    _write(tmp_path, "a.tmpl", "sub/out/a", "sub/b")
    (tmp_path / "link").symlink_to("sub/out")
    assert _outputs([tmp_path], output_dir=tmp_path / "sub/out") == ["a", "sub/b"]


def test_rendered_in_place_the_results_of_earlier_runs_are_no_templates(tmp_path):
    _write(tmp_path, "a.yaml.tmpl", "a.yaml", "plain", "sub/b.tpl", "sub/b", ".injector-0123456789abcdef-0.tmp")
    files = collect([str(tmp_path)], output_dir=tmp_path)
    assert [(Path(file.name).name, file.output) for file in files] == [
        ("a.yaml.tmpl", "a.yaml"),
        ("plain", "plain"),
        ("b.tpl", "sub/b"),
    ]


def test_two_templates_for_one_output_are_refused_and_both_named(tmp_path):
    _write(tmp_path, "x/a.tmpl", "y/a", "z/a/b")
    with pytest.raises(InputCollision, match=r"x/a\.tmpl and .*y/a would both be written to a"):
        _outputs([tmp_path / "x", tmp_path / "y"])
    with pytest.raises(InputCollision, match=r"x/a\.tmpl would be a file where .*z/a/b needs a directory"):
        _outputs([tmp_path / "x", tmp_path / "z"])
    assert _outputs([tmp_path / "x", tmp_path / "y"], output_dir=None) == ["a", "a"]


def test_standard_input_is_a_template():
    (file,) = collect(["-"], output_dir=None)
    assert (file.name, file.path, file.output) == ("<stdin>", None, "")
    assert read(file, stdin=io.BytesIO(b"a\0b")).data == b"a\0b"


def test_the_processs_own_standard_input_is_read():
    code = "from injector.app.sources import *; (f,) = collect(['-'], output_dir=None); print(len(read(f).data))"
    done = subprocess.run([sys.executable, "-c", code], input=b"x" * 1_000_000, capture_output=True, check=True)
    assert done.stdout == b"1000000\n"


def test_a_pipe_that_is_named_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(b"through"))
    writer.start()
    ((file, source),) = gather([str(tmp_path / "pipe")], output_dir=None)
    writer.join()
    assert (file.output, source.data) == ("pipe", b"through")


def test_a_large_template_is_read_whole(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(100_000_000)
    (template,) = collect([str(tmp_path / "large")], output_dir=None)
    assert len(read(template).data) == 100_000_000


def test_a_file_that_changes_kind_or_goes_before_it_is_read_is_an_error(tmp_path):
    _write(tmp_path, "d/a", "d/b", "d/c")
    files = collect([str(tmp_path / "d")], output_dir=None)
    for name in "abc":
        (tmp_path / "d" / name).unlink()
    (tmp_path / "d/b").mkdir()
    os.mkfifo(tmp_path / "d/c")
    with pytest.raises(InputNotFound, match="d/a does not exist"):
        read(files[0])
    with pytest.raises(InputError, match="d/b is a directory"):
        read(files[1])
    with pytest.raises(InputError, match="d/c is no regular file"):
        read(files[2])


def test_a_name_that_is_not_text_is_shown_as_text(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff\x1b[31m")).write_bytes(b"1")
    ((file, source),) = gather([str(tmp_path)], output_dir=tmp_path / "out")
    assert file.name.isprintable()
    assert file.name.encode().endswith("/a\ufffd\ufffd[31m".encode())
    assert os.fsencode(file.output) == b"a\xff\x1b[31m"
    assert source.data == b"1"


@pytest.mark.fault(34, "an error that names the file, or the directory")
def test_unreadable_files_and_directories_are_told_apart(open_tmp):
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    _write(open_tmp, "d/closed/a", "d/secret", "d/open")
    (open_tmp / "d").chmod(0o755)
    (open_tmp / "d/closed").chmod(0o700)
    (open_tmp / "d/secret").chmod(0o600)
    code = """
import json, os, sys
from injector.app.sources import gather
from injector.errors import InjectorError, RunFailed
os.setgroups([]); os.setresgid(*[65532] * 3); os.setresuid(*[65532] * 3)
for name in ("d", "d/secret", "d/closed/a"):
    try:
        gather([os.path.join(sys.argv[1], name)], output_dir=None)
    except InjectorError as error:
        print(json.dumps(error.message))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(open_tmp)], capture_output=True, text=True, timeout=60, check=False
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        f"the directory {open_tmp}/d/closed may not be read by uid 65532",
        f"the file {open_tmp}/d/secret may not be read by uid 65532",
        f"the file {open_tmp}/d/closed/a may not be read by uid 65532",
    ], done.stderr


def _swap_until(stop, mount):
    number = 0
    while not stop.is_set():
        number += 1
        content = str(number).encode()
        # A key that comes and goes: which files there are belongs to the generation, too.
        files = {"a.tmpl": content, "b": content, "sub/c": content} | ({"even": content} if number % 2 == 0 else {})
        _generation(mount, number, files)
        if number % 2 == 0:
            continue
        (mount / "even").unlink(missing_ok=True)


@pytest.mark.parametrize("as_files", [False, True])
def test_a_mounted_set_that_is_swapped_all_the_time_is_never_torn(mount, as_files):
    inputs = [str(mount / "a.tmpl"), str(mount / "b")] if as_files else [str(mount)]
    stop = threading.Event()
    swapping = threading.Thread(target=_swap_until, args=(stop, mount))
    swapping.start()
    seen = set()
    try:
        while len(seen) < 100:
            got = {file.output: source.data for file, source in gather(inputs, output_dir=mount.parent / "out")}
            assert len(set(got.values())) == 1, got
            generation = got["a"]
            if not as_files:
                wanted = {"a", "b", "sub/c"} | ({"even"} if int(generation) % 2 == 0 and int(generation) else set())
                assert set(got) == wanted
            seen.add(generation)
    finally:
        stop.set()
        swapping.join()


def test_reading_by_path_would_be_torn(mount):
    """The control of the test above: without the pinned generation the same swapping does tear."""
    stop = threading.Event()
    swapping = threading.Thread(target=_swap_until, args=(stop, mount))
    swapping.start()
    torn = 0
    try:
        for _ in range(20_000):
            try:
                torn += (mount / "a.tmpl").read_bytes() != (mount / "b").read_bytes()
            except FileNotFoundError:
                continue
            if torn:
                break
    finally:
        stop.set()
        swapping.join()
    assert torn


def test_standard_input_beside_a_swapped_mount_is_read_once(mount):
    stop = threading.Event()
    swapping = threading.Thread(target=_swap_until, args=(stop, mount))
    swapping.start()
    try:
        for _ in range(50):
            first, *_ = gather(["-", str(mount)], output_dir=None, stdin=io.BytesIO(b"once"))
            assert first[1].data == b"once"
    finally:
        stop.set()
        swapping.join()


def test_the_descriptors_of_a_mount_are_given_back(mount):
    before = sorted(os.listdir("/proc/self/fd"))
    files = collect([str(mount)], output_dir=None)
    assert len(os.listdir("/proc/self/fd")) == len(before) + 1
    del files
    assert sorted(os.listdir("/proc/self/fd")) == before
