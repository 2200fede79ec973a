"""Any sequence of publishes leaves the last contents and nothing else; any failing one leaves what was there."""

from __future__ import annotations

import os
import resource
import tempfile
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from injector.errors import OutputError
from injector.output.publisher import PublishRequest, publish

_PART = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda part: part not in (".", "..") and not part.startswith(".injector-")
)
_FILE = st.builds(lambda part: "f" + part, _PART) | st.sampled_from(["f", "f" * 255, ".env", "f.tmp"])
_DIRECTORY = st.sampled_from(["", "d", "d/e", "\N{SNOWMAN}"])  # never the name of a file: that is another test
_SET = st.dictionaries(
    st.tuples(_DIRECTORY, _FILE).map("/".join).map(lambda name: name.lstrip("/")),
    st.tuples(st.binary(max_size=300), st.sampled_from([0o600, 0o400, 0o644, 0o440])),
    max_size=6,
)


def _requests(files, root):
    return [PublishRequest(Path(name), data, mode=mode, root=root) for name, (data, mode) in files.items()]


def _found(root):
    return {
        os.path.relpath(os.path.join(directory, name), root): (
            Path(directory, name).read_bytes(),
            Path(directory, name).stat().st_mode & 0o777,
        )
        for directory, _, names in os.walk(root)
        for name in names
    }


@contextmanager
def _largest_file(size):
    """No file of this process may grow beyond *size*: a real failure, at the write that we choose."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@settings(deadline=None, max_examples=60)
@given(st.lists(_SET, max_size=5))
def test_the_last_contents_are_left_and_no_temporary_file(sets):
    expected = {}
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for files in sets:
            changed = [each.changed for each in publish(_requests(files, root))]
            assert changed == [expected.get(name) != files[name] for name in files]
            expected |= files
            assert _found(root) == expected


@settings(deadline=None, max_examples=60)
@given(_SET, _SET.filter(bool), st.data())
def test_a_failure_at_any_file_leaves_everything_as_it_was(before, after, data):
    failing = data.draw(st.sampled_from(sorted(after)))
    after[failing] = (b"x" * 2000, 0o600)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        publish(_requests(before, root))
        directories = {path for path in root.rglob("*") if path.is_dir()}
        raised = None
        with _largest_file(1000):
            try:
                publish(_requests(after, root))
            except OutputError as error:
                raised = error
        assert raised is not None
        assert raised.message == f"cannot write {root / failing}: it is larger than the file size limit"
        assert _found(root) == before
        assert {path for path in root.rglob("*") if path.is_dir()} == directories
