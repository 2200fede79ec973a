"""Any sequence of sets, with any leftovers between them, leaves the last set and nothing else."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from injector.errors import OutputError
from injector.output.publisher import PublishRequest, publish
from injector.output.removal import remove
from injector.output.sets import SetFile, check_name, publish_set, repair

_PART = st.sampled_from(["a", "b", ".c", "\N{SNOWMAN}", "d" * 255, "..e", "f f"])
_NAME = st.lists(_PART, min_size=1, max_size=3).map("/".join).filter(lambda name: not name.startswith(".."))
_FILES = st.dictionaries(
    _NAME, st.tuples(st.binary(max_size=50), st.sampled_from([0o600, 0o400, 0o644])), max_size=6
).filter(lambda files: not any(other.startswith(f"{name}/") for name in files for other in files))
_GENERATION = "..2020_01_01_00_00_00.0123456789abcdef"


def _half_a_generation(root):
    (root / _GENERATION / "a").mkdir(parents=True, exist_ok=True)
    (root / _GENERATION / "a" / "b").write_bytes(b"secret")


def _link_to_it(root):
    (root / "..data_tmp-0123456789abcdef").symlink_to(_GENERATION)


def _dangling(root):
    if not os.path.lexists(root / "gone"):
        (root / "gone").symlink_to("..data/gone")


def _missing(root):
    for name in os.listdir(root):
        if not name.startswith(".."):
            (root / name).unlink()


def _no_data(root):
    if os.path.lexists(root / "..data"):
        (root / "..data").unlink()


_LEFTOVERS = st.sets(st.sampled_from([_half_a_generation, _link_to_it, _dangling, _missing, _no_data]))


def _found(root):
    return {
        os.path.relpath(os.path.join(directory, name), root / "..data"): (
            Path(directory, name).read_bytes(),
            Path(directory, name).stat().st_mode & 0o777,
        )
        for directory, _, names in os.walk(root / "..data")
        for name in names
    }


def _is_tidy(root, files):
    first = {name.split("/")[0] for name in files}
    generation = os.readlink(root / "..data")
    return sorted(os.listdir(root)) == sorted(first | {"..data", generation}) and all(
        os.readlink(root / name) == f"..data/{name}" for name in first
    )


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(_FILES, _LEFTOVERS, st.booleans()), min_size=1, max_size=5))
def test_the_last_set_is_left_and_nothing_else(steps):
    expected = {}
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for files, leftovers, repairing in steps:
            for leave in leftovers:
                leave(root)
            if _no_data in leftovers:
                expected = {}
            if repairing:
                repair(root)
                assert repair(root) == ()
                assert not expected or _is_tidy(root, expected)
            published = publish_set(root, [SetFile(name, data, mode=mode) for name, (data, mode) in files.items()])
            assert [each.changed for each in published] == [expected.get(name) != files[name] for name in files]
            assert _found(root) == files
            assert _is_tidy(root, files)
            expected = files


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=20) | st.lists(st.sampled_from(["", ".", "..", "a", "..a"])).map("/".join))
def test_a_name_that_is_taken_stays_below_the_directory(name):
    try:
        clean = check_name(name)
    except OutputError:
        return
    assume("\ud800" not in name)
    assert clean == check_name(clean)
    assert os.path.normpath(os.path.join("/root", clean)) == f"/root/{clean}"
    assert not clean.startswith("..")


_STEP = st.tuples(st.sampled_from(["a", "d/a", "d/b", "e/f/a"]), st.none() | st.binary(max_size=9))


@settings(deadline=None, max_examples=60)
@given(st.lists(_STEP, max_size=12))
def test_what_is_published_and_removed_is_as_in_a_dictionary(steps):
    expected = {}
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for name, data in steps:
            if data is None:
                assert remove(Path(name), root) == (expected.pop(name, None) is not None)
            else:
                changed = publish([PublishRequest(Path(name), data, root=root)])[0].changed
                assert changed == (expected.get(name) != data)
                expected[name] = data
            found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
            assert found == expected
