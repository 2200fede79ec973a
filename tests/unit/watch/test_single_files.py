"""Mounts of single files are told from directories and from files that are no mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from injector.watch.single_files import single_file_mounts


def _line(point):
    return f"36 35 98:0 /..2026_11_22/app.tmpl {point} ro,relatime master:1 - ext4 /dev/root rw\n"


def test_a_file_that_is_a_mount_point_is_found_by_name_and_below_a_directory(tmp_path):
    directory = tmp_path / "with blank"
    directory.mkdir()
    for name in ("app.tmpl", "other.tmpl"):
        (directory / name).write_text("x")
    (tmp_path / "mounted").mkdir()
    (tmp_path / "link").symlink_to(directory)
    info = tmp_path / "mountinfo"
    escaped = str(directory).replace(" ", "\\040")
    info.write_text(_line("/") + _line(f"{escaped}/app.tmpl") + _line(tmp_path / "mounted") + "short\n")
    found = (directory / "app.tmpl",)
    assert single_file_mounts([directory / "app.tmpl"], mountinfo=info) == found
    assert single_file_mounts([directory], mountinfo=info) == found
    assert single_file_mounts([tmp_path / "link"], mountinfo=info) == found
    assert single_file_mounts([directory / "other.tmpl", tmp_path / "mounted"], mountinfo=info) == ()
    assert single_file_mounts([tmp_path / "with"], mountinfo=info) == ()


def test_without_a_list_of_mounts_there_are_none(tmp_path):
    assert single_file_mounts([tmp_path], mountinfo=tmp_path / "missing") == ()


def test_the_files_that_a_container_runtime_mounts_are_found():
    hosts = Path("/etc/hosts")
    if not any(line.split()[4] == str(hosts) for line in Path("/proc/self/mountinfo").read_text().splitlines()):
        pytest.skip("/etc/hosts is no mount here")
    assert single_file_mounts([hosts]) == (hosts,)
    assert hosts in single_file_mounts([Path("/etc")])


@pytest.mark.fault(39, "a template that is the mount of a single file is reported: its updates never arrive")
async def test_the_mount_of_a_single_file_is_warned_of(watching, tmp_path, monkeypatch):
    # A real bind mount needs rights that a test has nowhere; what is not real is only the kernel's list.
    (tmp_path / "app.tmpl").write_text("x")
    info = tmp_path / "mountinfo"
    info.write_text(_line(tmp_path / "app.tmpl"))
    monkeypatch.setattr(
        "injector.watch.watcher.single_file_mounts", lambda paths: single_file_mounts(paths, mountinfo=info)
    )
    async with watching([tmp_path / "app.tmpl"]) as seen:
        assert seen.watcher.subpath_mounts == (tmp_path / "app.tmpl",)
        lines = seen.lines.getvalue()
        assert lines.count("a mount of a single file is never updated") == 1
        assert "subPath" in lines
        assert str(tmp_path / "app.tmpl") in lines
