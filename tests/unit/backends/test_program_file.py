"""What is checked is what is run: one descriptor, sealed when it is held to a checksum."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from injector.backends import program_file
from injector.backends.executables import this_platform
from injector.backends.lockfile import LockEntry
from injector.backends.program_file import ProgramFile
from injector.errors import ExitCode, PluginIntegrity, PluginRefused

SCRIPT = b"#!/bin/sh\necho good\n"
EVIL = b"#!/bin/sh\necho evil\n"


def pin(data: bytes) -> LockEntry:
    return LockEntry(hashlib.sha256(data).hexdigest(), len(data))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    folder.mkdir(mode=0o755)
    path = folder / "demo-linux-amd64"
    path.write_bytes(SCRIPT)
    path.chmod(0o755)
    return path


def run(program: ProgramFile) -> str:
    done = subprocess.run(
        ["demo"], executable=program.executable, pass_fds=program.inherited, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def replace(path: Path, data: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(data)
    other.chmod(0o755)
    other.rename(path)


@pytest.mark.fault(16, "what was checked is what runs")
def test_a_program_that_is_replaced_after_it_was_opened_is_not_what_runs(program: Path) -> None:
    good, evil = (Path(shutil.which(name) or "").resolve().read_bytes() for name in ("true", "false"))
    replace(program, good)
    with ProgramFile.open(program) as opened:
        assert opened.reason_against(this_platform()) == ("", "")
        replace(program, evil)
        subprocess.run(["demo"], executable=opened.executable, pass_fds=opened.inherited, check=True)


def test_a_script_that_is_replaced_after_it_was_held_to_a_checksum_is_not_what_runs(program: Path) -> None:
    with ProgramFile.open(program) as opened:
        opened.hold_to(pin(SCRIPT), "demo")
        replace(program, EVIL)
        assert run(opened) == "good"


def test_a_script_that_no_checksum_holds_knows_its_own_name(program: Path) -> None:
    replace(program, b'#!/bin/sh\necho "$0"\n')
    with ProgramFile.open(program) as opened:
        assert run(opened) == str(program)


@pytest.mark.fault(18, "a sealed copy runs")
def test_a_writer_who_was_there_before_cannot_change_what_was_checked(program: Path) -> None:
    with program.open("r+b") as writer, ProgramFile.open(program) as opened:
        opened.hold_to(pin(SCRIPT), "demo")
        writer.write(EVIL)
        writer.flush()
        assert program.read_bytes() == EVIL
        assert run(opened) == "good"
        (descriptor,) = opened.inherited
        copy = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
        with pytest.raises(PermissionError):
            os.write(copy, b"x")
        os.close(copy)


def test_a_program_of_the_machine_runs_from_its_sealed_copy(tmp_path: Path) -> None:
    shell = Path("/bin/echo").resolve()
    with ProgramFile.open(shell) as opened:
        opened.hold_to(pin(shell.read_bytes()), "echo")
        done = subprocess.run(
            ["echo", "hello"], executable=opened.executable, pass_fds=opened.inherited, capture_output=True, check=True
        )
    assert done.stdout == b"hello\n"


@pytest.mark.parametrize("found", [EVIL, SCRIPT + b"x", SCRIPT[:-1], b""])
def test_other_bytes_are_refused_with_both_checksums(program: Path, found: bytes) -> None:
    program.write_bytes(found)
    with ProgramFile.open(program) as opened, pytest.raises(PluginIntegrity) as caught:
        opened.hold_to(pin(SCRIPT), "demo")
    error = caught.value
    digests = [hashlib.sha256(data).hexdigest() for data in (SCRIPT, found)]
    assert (error.exit_code, error.code) == (ExitCode.PLUGIN, "plugin-checksum-mismatch")
    assert f"plugin demo ({program})" in error.message
    assert error.hint is not None
    for digest in digests:
        assert digest[:12] in error.message
        assert digest in error.hint


@pytest.mark.fault(18, "without sealed copies the opened file itself runs")
def test_without_memory_files_the_opened_file_itself_is_hashed_and_run(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_file, "_memory_file", lambda name: None)
    with ProgramFile.open(program) as opened:
        opened.hold_to(pin(SCRIPT), "demo")
        replace(program, EVIL)
        assert run(opened) == "good"
    with ProgramFile.open(program) as opened, pytest.raises(PluginIntegrity):
        opened.hold_to(pin(SCRIPT), "demo")


def test_without_descriptor_paths_the_name_is_run(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_file, "_has_descriptor_paths", lambda: False)
    with ProgramFile.open(program) as opened:
        opened.hold_to(pin(SCRIPT), "demo")
        assert (opened.executable, opened.inherited) == (str(program), ())
        assert run(opened) == "good"


def test_no_descriptor_is_left_whatever_happens(program: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for data in (SCRIPT, EVIL):
        try:
            with ProgramFile.open(program) as opened:
                opened.hold_to(pin(data), "demo")
        except PluginIntegrity:
            assert data == EVIL
        opened.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_named_pipe_does_not_hold_up_the_search(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o755)
    with ProgramFile.open(tmp_path / "pipe") as opened:
        assert opened.reason_against(None)[0] == "is not a regular file"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_or_folder_of_another_user_is_refused(program: Path) -> None:
    os.chown(program, 12345, -1)
    with ProgramFile.open(program) as opened:
        assert opened.reason_against(None)[0] == "belongs to the user with id 12345"
    os.chown(program, 0, -1)
    os.chown(program.parent, 12345, -1)
    with ProgramFile.open(program) as opened:
        assert "belongs to the user with id 12345" in opened.reason_against(None)[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_program_that_may_be_executed_and_not_read_runs_but_cannot_be_pinned(program: Path) -> None:
    program.write_bytes(Path("/bin/echo").resolve().read_bytes())
    program.chmod(0o711)
    script = (
        "import os, sys, subprocess\n"
        "from pathlib import Path\n"
        "from injector.backends.program_file import ProgramFile\n"
        "from injector.backends.lockfile import LockEntry\n"
        "from injector.errors import PluginRefused\n"
        "os.setgroups([]); os.setgid(65532); os.setuid(65532)\n"
        "with ProgramFile.open(Path(sys.argv[1])) as opened:\n"
        "    assert opened.reason_against(None) == ('', ''), opened.reason_against(None)\n"
        "    subprocess.run(['x', 'ran'], executable=opened.executable, pass_fds=opened.inherited, check=True)\n"
        "    try:\n"
        "        opened.hold_to(LockEntry('a' * 64, opened.size()), 'demo')\n"
        "    except PluginRefused as error:\n"
        "        print(error.message)\n"
    )
    for folder in program.parents:
        if folder != Path("/") and folder.is_relative_to("/tmp/pytest-of-root"):
            folder.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", script, program], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("ran\n"), done.stderr
    assert "is refused: it cannot be looked at" in done.stdout


@pytest.mark.fault(17, "each kind has a message of its own")
def test_a_refusal_names_plugin_path_and_remedy(program: Path) -> None:
    error = program_file.refused("demo", program, "is blue", "paint it")
    assert isinstance(error, PluginRefused)
    assert (error.message, error.hint) == (f"plugin demo ({program}) is refused: it is blue", "paint it")
