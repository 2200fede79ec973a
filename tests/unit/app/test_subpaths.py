"""Mounts of single keys are told from mounts of whole volumes. The lines are those of a real node."""

from __future__ import annotations

from pathlib import Path

from injector.app.subpaths import subpath_mounts

VOLUME = "/pods/3f/volumes/kubernetes.io~configmap/templates"
MOUNTS = rf"""
610 590 0:45 {VOLUME} /templates ro,relatime - tmpfs tmpfs rw
611 590 0:45 {VOLUME}/..2026_11_22_19_24_27.123456789/app.json /single/app.json ro,relatime - tmpfs tmpfs rw
612 590 0:45 {VOLUME}/..2026_11_22_19_24_27.123456789/b /with\040blank/b ro,relatime - tmpfs tmpfs rw
"""


def mountinfo(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS.strip())
    return path


def test_a_single_key_is_found_by_its_directory_and_by_itself(tmp_path: Path) -> None:
    expected = [Path("/single/app.json")]
    assert subpath_mounts(["/single"], mountinfo(tmp_path)) == expected
    assert subpath_mounts(["/single/app.json"], mountinfo(tmp_path)) == expected
    assert subpath_mounts(["/with blank"], mountinfo(tmp_path)) == [Path("/with blank/b")]


def test_a_whole_volume_and_foreign_mounts_are_not(tmp_path: Path) -> None:
    assert subpath_mounts(["/templates", "/elsewhere", "-"], mountinfo(tmp_path)) == []
    assert subpath_mounts(["/templates"], tmp_path / "missing") == []
