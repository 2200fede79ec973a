"""Where plugins are found, which one wins, and why the others do not."""

from __future__ import annotations

import importlib.metadata
import os
import struct
import sys
from pathlib import Path

import pytest

from injector.backends import discovery
from injector.backends.discovery import Kind, SearchPath, SearchPlace, discover, find, prefixes
from injector.backends.executables import Platform, go_processor, recognise, this_platform
from injector.errors import ExitCode, PluginNotFound, PluginPathNotFound, PluginRefused

LINUX = Platform("linux", "amd64")


def _elf(machine: int, *, bits: int = 2, order: str = "<") -> bytes:
    head = b"\x7fELF" + bytes([bits, 1 if order == "<" else 2, 1]) + bytes(9)
    return head + struct.pack(f"{order}HH", 2, machine) + bytes(44)


@pytest.fixture
def search(tmp_path: Path) -> SearchPath:
    places = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir(mode=0o755)
        places.append(SearchPlace(tmp_path / name, name))
    return SearchPath(tuple(places), LINUX)


def _put(place: SearchPlace, name: str, file: str | None = None, content: bytes = b"#!/bin/sh\n", mode=0o755) -> Path:
    folder = place.directory / name
    folder.mkdir(mode=0o755, exist_ok=True)
    path = folder / (file or f"{name}-linux-amd64")
    path.write_bytes(content)
    path.chmod(mode)
    return path


def _refusal(search: SearchPath, prefix: str = "DEMO") -> PluginRefused:
    with pytest.raises(PluginRefused) as caught:
        find(search, prefix)
    assert caught.value.exit_code is ExitCode.PLUGIN
    return caught.value


# ---------------------------------------------------------------------------------------------------- search path


@pytest.mark.seed("002:16b", "002:18", "002:19")
def test_the_search_order_is_configmanager_dir_then_current_directory_then_home() -> None:
    search = SearchPath.from_environment(None, {"CONFIGMANAGER_DIR": "/c"}, Path("/w"), Path("/h"))
    assert [str(place) for place in search.places] == [
        "/c/.configmanager/plugins ($CONFIGMANAGER_DIR)",
        "/w/.configmanager/plugins (current directory)",
        "/h/.configmanager/plugins (home directory)",
        "/usr/local/lib/injector/plugins (system)",
    ]
    assert search.platform == this_platform()


def test_without_a_home_and_a_variable_there_is_the_current_directory() -> None:
    search = SearchPath.from_environment(None, {}, Path("/w"), None)
    assert [place.reason for place in search.places] == ["current directory", "system"]


def test_explicit_paths_are_the_only_ones(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    search = SearchPath.from_environment([Path("a")], {"CONFIGMANAGER_DIR": "/c"}, tmp_path, Path("/h"))
    assert [place.directory for place in search.places] == [tmp_path / "a"]


def test_an_explicit_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PluginPathNotFound, match="nowhere is not a directory"):
        SearchPath.from_environment([tmp_path / "nowhere"], {}, tmp_path, None)


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ("x86_64", "amd64"),
        ("AMD64", "amd64"),
        ("aarch64", "arm64"),
        ("armv7l", "arm"),
        ("i686", "386"),
        ("s390x", "s390x"),
    ],
)
@pytest.mark.seed("002:22")
def test_processors_have_gos_names(machine: str, name: str) -> None:
    assert go_processor(machine) == name


# ------------------------------------------------------------------------------------------------------- which wins


@pytest.mark.seed("002:16b", "002:22")
def test_the_first_place_wins(search: SearchPath) -> None:
    second = _put(search.places[1], "demo")
    assert find(search, "DEMO").location == str(second)
    first = _put(search.places[0], "demo")
    candidate = find(search, "DEMO")
    assert (candidate.kind, candidate.argv, candidate.name) == (Kind.GOPLUGIN, (str(first),), "demo")
    assert str(candidate) == f"plugin demo ({first})"


def test_a_refused_file_is_reported_and_not_passed_over(search: SearchPath) -> None:
    refused = _put(search.places[0], "demo", mode=0o644)
    _put(search.places[1], "demo")
    assert str(refused) in _refusal(search).message


@pytest.mark.seed("002:22")
def test_a_missing_plugin_is_told_with_file_and_places(search: SearchPath) -> None:
    with pytest.raises(PluginNotFound) as caught:
        find(search, "DEMO")
    assert caught.value.exit_code is ExitCode.PLUGIN
    assert caught.value.hint is not None
    for text in ("demo/demo-linux-amd64", *(str(place) for place in search.places), "installed packages"):
        assert text in caught.value.hint


def test_windows_files_end_in_exe(search: SearchPath) -> None:
    windows = SearchPath(search.places, Platform("windows", "amd64"))
    pe = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<H", 0x8664)
    path = _put(search.places[0], "demo", "demo-windows-amd64.exe", pe)
    assert find(windows, "DEMO").location == str(path)


def test_the_listing_tells_every_candidate_and_who_loses_to_whom(search: SearchPath) -> None:
    first = _put(search.places[0], "demo")
    _put(search.places[0], "demo", "demo.wasm", b"\0asm")
    _put(search.places[1], "demo")
    _put(search.places[1], "other", mode=0o600)
    _put(search.places[1], "mac", "mac-darwin-arm64")
    listed = [
        (found.prefix, found.kind, found.loses_to == str(first), found.refusal is not None)
        for found in discover(search)
        if found.kind is not Kind.DISTRIBUTION
    ]
    assert listed == [
        ("DEMO", Kind.GOPLUGIN, False, False),
        ("DEMO", Kind.WASM, True, False),
        ("DEMO", Kind.GOPLUGIN, True, False),
        ("MAC", Kind.GOPLUGIN, False, True),
        ("OTHER", Kind.GOPLUGIN, False, True),
    ]


def test_prefixes_are_the_folders_whose_name_could_be_one(search: SearchPath) -> None:
    for name in ("demo", "aws_2", "2nd", "with-dash", "Upper", ".hidden"):
        (search.places[0].directory / name).mkdir()
    (search.places[0].directory / "file").touch()
    assert prefixes(search) == {"DEMO", "AWS_2"}


def test_places_that_do_not_exist_have_no_prefixes(tmp_path: Path) -> None:
    assert prefixes(SearchPath((SearchPlace(tmp_path / "no", "x"),), LINUX)) == frozenset()


# ------------------------------------------------------------------------------------------------------ installed


def test_installed_packages_bring_plugins_that_are_run_as_modules(search: SearchPath) -> None:
    assert "AWSPARAMSTR" in discovery.distribution_prefixes()
    candidate = find(search, "AWSPARAMSTR")
    assert candidate.kind is Kind.DISTRIBUTION
    assert candidate.argv == (sys.executable, "-P", "-m", "injector_awsparamstr")
    assert str(candidate) == "plugin awsparamstr (python -m injector_awsparamstr)"


def test_the_installed_packages_are_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = importlib.metadata.entry_points
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **group: (asked.append(group), real(**group))[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    for _ in range(3):
        assert "AWSPARAMSTR" in discovery.distribution_prefixes()
    assert len(asked) == 1


def test_a_file_on_the_path_goes_before_an_installed_package(search: SearchPath) -> None:
    path = _put(search.places[1], "awsparamstr")
    assert find(search, "AWSPARAMSTR").location == str(path)


# -------------------------------------------------------------------------------------------------------- refusals


def test_a_file_that_is_not_executable_is_refused_with_the_remedy(search: SearchPath) -> None:
    path = _put(search.places[0], "demo", mode=0o644)
    refusal = _refusal(search)
    assert refusal.message == f"plugin demo ({path}) is refused: it is not executable"
    assert refusal.hint == f"chmod 0755 {path}"


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_file_that_others_may_write_is_refused(search: SearchPath, mode: int) -> None:
    path = _put(search.places[0], "demo", mode=mode)
    refusal = _refusal(search)
    assert "may be written by others than its owner" in refusal.message
    assert refusal.hint == f"chmod go-w {path}"


def test_a_file_in_a_folder_that_others_may_write_is_refused_unless_it_is_sticky(search: SearchPath) -> None:
    folder = _put(search.places[0], "demo").parent
    folder.chmod(0o777)
    assert _refusal(search).hint == f"chmod go-w {folder}"
    folder.chmod(0o1777)
    assert find(search, "DEMO").refusal is None


def test_a_link_into_a_folder_that_others_may_write_is_refused(search: SearchPath, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    target = tmp_path / "open" / "program"
    target.write_bytes(b"#!/bin/sh\n")
    target.chmod(0o755)
    (tmp_path / "open").chmod(0o777)
    (search.places[0].directory / "demo").mkdir(mode=0o755)
    (search.places[0].directory / "demo" / "demo-linux-amd64").symlink_to(target)
    assert f"lies in {tmp_path / 'open'}" in _refusal(search).message


def test_a_directory_and_a_dangling_link_are_refused(search: SearchPath) -> None:
    folder = search.places[0].directory / "demo"
    (folder / "demo-linux-amd64").mkdir(parents=True, mode=0o755)
    assert "is not a regular file" in _refusal(search).message
    (folder / "demo-linux-amd64").rmdir()
    (folder / "demo-linux-amd64").symlink_to("nowhere")
    assert "cannot be looked at: No such file or directory" in _refusal(search).message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_folder_that_may_not_be_entered_is_refused(search: SearchPath) -> None:
    folder = _put(search.places[0], "demo").parent
    folder.chmod(0)
    try:
        assert "cannot be looked at: Permission denied" in _refusal(search).message
    finally:
        folder.chmod(0o755)


def test_a_wasm_module_needs_no_permission_to_be_executed(search: SearchPath) -> None:
    path = _put(search.places[0], "demo", "demo.wasm", b"\0asm\1\0\0\0", mode=0o644)
    found = find(search, "DEMO")
    assert (found.kind, found.location, found.argv) == (Kind.WASM, str(path), ())


def test_a_program_goes_before_a_wasm_module_beside_it(search: SearchPath) -> None:
    _put(search.places[0], "demo", "demo.wasm", b"\0asm\1\0\0\0", mode=0o644)
    _put(search.places[0], "demo")
    assert find(search, "DEMO").kind is Kind.GOPLUGIN


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (b"\x7fELF", 0o644, "is no WASM module"),
        (b"", 0o644, "is no WASM module"),
        (b"\0asm\1\0\0\0", 0o666, "may be written by others"),
    ],
)
def test_a_file_that_is_no_usable_wasm_module_is_refused(
    content: bytes, mode: int, reason: str, search: SearchPath
) -> None:
    _put(search.places[0], "demo", "demo.wasm", content, mode=mode)
    assert reason in _refusal(search).message


def test_a_folder_with_files_for_other_platforms_only_says_so(search: SearchPath) -> None:
    _put(search.places[0], "demo", "demo-darwin-arm64")
    _put(search.places[0], "demo", "demo-windows-amd64.exe")
    _put(search.places[0], "demo", "demo-linux-amd64.sha256")
    message = _refusal(search).message
    assert "only files for other platforms (darwin-arm64, windows-amd64), and this is linux/amd64" in message


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (_elf(183), "ELF program for arm64"),
        (_elf(243), "ELF program for riscv64"),
        (_elf(21), "ELF program for ppc64le"),
        (_elf(22, order=">"), "ELF program for s390x"),
        (_elf(9999), "ELF program for machine 9999"),
        (b"\xcf\xfa\xed\xfe" + struct.pack("<I", 0x0100000C), "Mach-O program for arm64"),
        (b"\xcf\xfa\xed\xfe" + struct.pack("<I", 0x01000007), "Mach-O program for amd64"),
        (
            b"\xca\xfe\xba\xbe"
            + struct.pack(">I", 2)
            + struct.pack(">5I", 0x01000007, 0, 0, 0, 0)
            + struct.pack(">5I", 0x0100000C, 0, 0, 0, 0),
            "Mach-O program for amd64 and arm64",
        ),
        (b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<H", 0x8664), "PE program for amd64"),
    ],
)
def test_a_program_for_another_machine_is_refused_whatever_its_name_says(search, header: bytes, text: str) -> None:
    _put(search.places[0], "demo", content=header)
    refusal = _refusal(search)
    assert f"it is a {text}, and this is linux/amd64" in refusal.message
    assert refusal.hint == "install the plugin's linux/amd64 build"


@pytest.mark.parametrize(
    "header", [_elf(62), _elf(3, bits=1), b"#!/bin/sh\n", b"", b"PK\3\4", b"MZ", b"\xca\xfe\xba\xbe\0\0\0\x34"]
)
def test_what_can_run_or_is_not_recognised_is_left_to_the_system(search: SearchPath, header: bytes) -> None:
    _put(search.places[0], "demo", content=header)
    assert find(search, "DEMO").refusal is None


def test_this_interpreter_runs_on_this_platform() -> None:
    program = recognise(Path(sys.executable).resolve().read_bytes()[:4096])
    assert program is not None
    assert program.runs_on(this_platform())
