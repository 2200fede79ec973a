"""Outputs below a directory stay below it."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

from injector.errors import OutputError, OutputOutsideRoot
from injector.output.publisher import PublishRequest, publish


@pytest.fixture
def root(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.mark.fault(35, "an absolute output path, or one with .., is refused")
@pytest.mark.parametrize("target", ["../a", "x/../../a", "x/../a", "/etc/injector-test", "..", "x/.."])
def test_a_path_with_dots_or_an_absolute_one_is_refused(root, target):
    with pytest.raises(OutputOutsideRoot):
        publish([PublishRequest(Path(target), b"1", root=root)])
    assert sorted(path.name for path in root.parent.rglob("*")) == ["outside", "root"]


@pytest.mark.fault(33, "a directory that is a link out of the output directory is refused")
@pytest.mark.parametrize("leads_to", ["../outside", "../../../../../../tmp", "inner/../../outside"])
def test_a_linked_directory_that_leads_out_is_refused(root, leads_to):
    (root / "inner").mkdir()
    (root / "link").symlink_to(leads_to)
    with pytest.raises(OutputOutsideRoot, match="leads out of"):
        publish([PublishRequest(Path("link/a"), b"1", root=root)])
    assert not list((root.parent / "outside").iterdir())


def test_an_absolute_link_is_refused_wherever_it_leads(root):
    (root / "inner").mkdir()
    (root / "link").symlink_to(root / "inner")
    with pytest.raises(OutputOutsideRoot):
        publish([PublishRequest(Path("link/a"), b"1", root=root)])


def test_links_between_directories_of_the_root_are_followed(root):
    (root / "releases/5").mkdir(parents=True)
    (root / "current").symlink_to("releases/five")
    (root / "releases/five").symlink_to("../releases/5")
    publish([PublishRequest(Path("current/sub/a"), b"1", root=root)])
    assert (root / "releases/5/sub/a").read_bytes() == b"1"


def test_links_in_a_circle_are_an_error(root):
    (root / "x").symlink_to("y")
    (root / "y").symlink_to("x")
    with pytest.raises(OutputError, match="too many symbolic links"):
        publish([PublishRequest(Path("x/a"), b"1", root=root)])


def test_the_root_itself_may_be_a_link(root):
    (root.parent / "alias").symlink_to("root")
    publish([PublishRequest(Path("d/a"), b"1", root=root.parent / "alias")])
    assert (root / "d/a").read_bytes() == b"1"


def test_missing_directories_are_made_and_umask_counts(root):
    before = os.umask(0o027)
    try:
        publish([PublishRequest(Path("d/e/a"), b"1", root=root / "new/deep")])
    finally:
        os.umask(before)
    assert [(root / name).stat().st_mode & 0o777 for name in ("new", "new/deep", "new/deep/d/e")] == [0o750] * 3


@pytest.mark.fault(33, "a directory that becomes a link meanwhile leads nowhere")
def test_a_directory_that_becomes_a_link_meanwhile_leads_nowhere(root):
    outside = root.parent / "outside"
    (root / "d").mkdir()
    stop = threading.Event()

    def flip():
        turn = 0
        while not stop.is_set():
            turn += 1
            # The publisher makes a missing directory and may take it back: any step may find that it came first.
            with contextlib.suppress(OSError):
                os.rename(root / "d", root / f"real{turn}")
                os.symlink("../outside", root / "d")
            if (root / "d").is_symlink():
                os.unlink(root / "d")
            with contextlib.suppress(OSError):
                os.rename(root / f"real{turn}", root / "d")

    flipping = threading.Thread(target=flip)
    flipping.start()
    outcomes = {"written": 0, "refused": 0}
    turn = 0
    try:
        while min(outcomes.values()) < 20 or turn < 500:
            turn += 1
            try:
                publish([PublishRequest(Path(f"d/a{turn % 7}"), b"%d" % turn, root=root)])
                outcomes["written"] += 1
            except OutputError:
                outcomes["refused"] += 1
    finally:
        stop.set()
        flipping.join()
    assert not list(outside.iterdir())
