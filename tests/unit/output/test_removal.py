"""Outputs of templates that are gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from injector.errors import OutputError, OutputOutsideRoot
from injector.output.removal import remove


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "d").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a").write_bytes(b"mine")
    return tmp_path / "root"


def test_a_file_is_removed_and_its_directory_stays(root):
    (root / "d" / "a").write_bytes(b"1")
    assert remove(Path("d/a"), root)
    assert os.listdir(root / "d") == []


@pytest.mark.parametrize("target", ["a", "d/a", "missing/a"])
def test_what_is_gone_already_is_no_error_and_nothing_is_made(root, target):
    assert not remove(Path(target), root)
    assert not remove(Path(target), root / "missing")
    assert sorted(os.listdir(root)) == ["d"]


def test_a_link_is_removed_and_not_what_it_leads_to(root):
    (root / "a").symlink_to("../outside/a")
    assert remove(Path("a"), root)
    assert os.listdir(root) == ["d"]
    assert (root.parent / "outside" / "a").read_bytes() == b"mine"


@pytest.mark.fault(33, "nothing is removed by way of a link that leads out of the output directory")
def test_a_directory_that_leads_out_is_refused(root):
    (root / "out").symlink_to("../outside")
    with pytest.raises(OutputOutsideRoot):
        remove(Path("out/a"), root)
    assert (root.parent / "outside" / "a").read_bytes() == b"mine"


@pytest.mark.parametrize("target", ["../outside/a", "", "..", "d/..", "/etc/passwd"])
def test_a_target_outside_of_the_root_is_refused(root, target):
    with pytest.raises(OutputOutsideRoot):
        remove(Path(target), root)
    assert (root.parent / "outside" / "a").exists()


def test_a_directory_is_refused_and_a_pipe_is_left_alone(root):
    with pytest.raises(OutputError, match=f"cannot remove {root}/d: a directory has that name"):
        remove(Path("d"), root)
    os.mkfifo(root / "pipe")
    assert not remove(Path("pipe"), root)
    assert sorted(os.listdir(root)) == ["d", "pipe"]


def test_a_path_with_a_nul_is_an_error(root):
    with pytest.raises(OutputError, match="is not a path"):
        remove(Path("a\0b"), root)
