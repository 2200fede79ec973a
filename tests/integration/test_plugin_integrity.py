"""A plugin that is not the locked one never runs, from the command line and against a program that swaps files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from injector.backends.executables import this_platform
from injector.backends.lockfile import LockEntry
from injector.errors import PluginIntegrity

INJECTOR = Path(sys.executable).with_name("injector")
PLATFORM = this_platform().file_suffix


@pytest.fixture
def injector(tmp_path: Path):
    """Runs the command in an empty directory."""
    (tmp_path / "w").mkdir(mode=0o755)

    def run(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), **(env or {})}
        return subprocess.run(
            [INJECTOR, *arguments],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path / "w",
            timeout=100,
        )

    return run


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "w"


@pytest.fixture
def plugin(injector, work: Path, demostore: Path) -> Path:
    """The Go example on the plugin path of the current directory, with a template that asks it."""
    folder = work / ".configmanager" / "plugins" / "demo"
    folder.mkdir(parents=True, mode=0o755)
    path = folder / f"demo-{PLATFORM}"
    shutil.copy(demostore, path)
    path.chmod(0o755)
    (work / "t").write_text("a=DEMO:///x")
    return path


def tampered(marker: Path) -> str:
    return f"#!/bin/sh\ntouch {marker}\nexit 1\n"


def test_a_locked_go_plugin_answers(injector, plugin: Path) -> None:
    assert injector("plugin", "lock").returncode == 0
    done = injector("render", "t", "--plugin-verify", "required")
    assert (done.returncode, done.stdout) == (0, "a=demo value of /x"), done.stderr


@pytest.mark.fault(17, "exit code 7 with both checksums; it is not executed")
def test_a_tampered_plugin_ends_with_seven_and_is_never_executed(injector, plugin: Path, work: Path) -> None:
    injector("plugin", "lock")
    marker = work / "marker"
    expected = hashlib.sha256(plugin.read_bytes()).hexdigest()
    plugin.write_text(tampered(marker))
    done = injector("render", "t", "--format", "json")
    assert done.returncode == 7
    assert not marker.exists()
    error = json.loads(done.stderr)
    assert error["code"] == "plugin-checksum-mismatch"
    assert str(plugin) in error["message"]
    assert expected[:12] in error["message"]
    assert expected in error["hint"]
    assert hashlib.sha256(plugin.read_bytes()).hexdigest() in error["hint"]
    unlocked = injector("render", "t", "--plugin-verify", "off")
    assert (unlocked.returncode, marker.exists()) == (7, True), "the marker is made when the program does run"


@pytest.mark.fault(17, "exit code 7; it is not executed")
def test_a_plugin_that_is_not_in_the_lock_file_is_not_run(injector, plugin: Path, work: Path) -> None:
    injector("plugin", "lock")
    stranger = work / ".configmanager" / "plugins" / "stranger" / f"stranger-{PLATFORM}"
    stranger.parent.mkdir(mode=0o755)
    stranger.write_text(tampered(work / "marker"))
    stranger.chmod(0o755)
    (work / "t").write_text("a=STRANGER:///x")
    done = injector("render", "t")
    assert done.returncode == 7
    assert "[plugin-not-locked]" in done.stderr
    assert not (work / "marker").exists()


def test_required_without_a_lock_file_runs_nothing(injector, plugin: Path) -> None:
    done = injector("render", "t", env={"INJECTOR_PLUGIN_VERIFY": "required"})
    assert done.returncode == 3
    assert "[plugin-lock-not-found]" in done.stderr


@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.fault(17, "refused, whatever its checksum")
def test_what_others_may_write_is_not_run_though_its_bytes_are_right(injector, plugin: Path, what: str) -> None:
    injector("plugin", "lock")
    (plugin if what == "file" else plugin.parent).chmod(0o775)
    done = injector("render", "t")
    assert done.returncode == 7
    assert "may be written by others than its owner" in done.stderr
    assert injector("plugin", "lock").returncode == 7, "and it is not locked either"


def test_a_script_and_a_zip_application_run_from_their_descriptors(injector, work: Path, plugin: Path) -> None:
    app = work / "app"
    app.mkdir()
    (app / "__main__.py").write_text("import sys, answer\nsys.exit(answer.text)\n")
    (app / "answer.py").write_text("text = 'zip application ran'\n")
    subprocess.run([sys.executable, "-m", "zipapp", app, "-p", f"{sys.executable} -I", "-o", plugin], check=True)
    plugin.chmod(0o755)
    for arguments in ([], ["--plugin-verify", "required"]):
        injector("plugin", "lock")
        assert "zip application ran" in injector("render", "t", *arguments).stderr
        (work / "injector.plugins.lock").unlink()


@pytest.mark.fault(18, "the swapped-in program never runs")
async def test_a_program_that_is_swapped_in_at_any_moment_never_runs(
    start_backend, install, demostore: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    candidate = install("demo", demostore.read_bytes())
    path = Path(candidate.location)
    data = path.read_bytes()
    candidate = replace(candidate, pin=LockEntry(hashlib.sha256(data).hexdigest(), len(data)))
    good, bad = tmp_path / "good", tmp_path / "bad"
    os.link(path, good)
    # As long as the good one, so that the size alone does not tell.
    bad.write_bytes(tampered(marker).encode().ljust(len(data), b"#"))
    bad.chmod(0o755)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for source in (bad, good):
                os.link(source, tmp_path / "next")
                os.rename(tmp_path / "next", path)

    thread = threading.Thread(target=swap)
    thread.start()
    outcomes = {"ran": 0, "refused": 0}
    deadline = time.monotonic() + 60
    try:
        while min(outcomes.values()) < 3 and time.monotonic() < deadline:
            try:
                await (await start_backend(candidate)).close()
                outcomes["ran"] += 1
            except PluginIntegrity:
                outcomes["refused"] += 1
    finally:
        done.set()
        thread.join()
    assert min(outcomes.values()) >= 3, outcomes
    assert not marker.exists()


# ------------------------------------------------------------------------------------------ lock, verify and list


def files(work: Path, *names: str) -> None:
    for name in names:
        path = work / ".configmanager" / "plugins" / name.partition("-")[0].partition(".")[0] / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        path.write_bytes(f"#!{name}".encode())
        path.chmod(0o755)


def test_files_of_every_platform_are_locked_and_changes_are_told(injector, work: Path) -> None:
    files(work, "demo-linux-amd64", "demo-darwin-arm64", "demo-windows-amd64.exe", "demo.wasm", "demo-linux-amd64.sig")
    done = injector("plugin", "lock")
    assert done.returncode == 0, done.stderr
    assert [line.split()[:3] for line in done.stdout.splitlines()] == [
        ["added", "demo", "darwin-arm64"],
        ["added", "demo", "linux-amd64"],
        ["added", "demo", "wasm"],
        ["added", "demo", "windows-amd64"],
    ]
    text = (work / "injector.plugins.lock").read_text()
    assert hashlib.sha256(b"#!demo.wasm").hexdigest() in text
    assert (work / "injector.plugins.lock").stat().st_mode & 0o777 == 0o644
    assert injector("plugin", "lock", "--check").returncode == 0

    files(work, "other-linux-amd64")
    plugins = work / ".configmanager" / "plugins" / "demo"
    (plugins / "demo.wasm").write_bytes(b"new")
    (plugins / "demo-darwin-arm64").unlink()
    check = injector("plugin", "lock", "--check")
    assert check.returncode == 1
    assert [line.split()[:3] for line in check.stdout.splitlines()] == [
        ["removed", "demo", "darwin-arm64"],
        ["changed", "demo", "wasm"],
        ["added", "other", "linux-amd64"],
    ]
    assert (work / "injector.plugins.lock").read_text() == text, "--check writes nothing"
    kept = json.loads(injector("plugin", "lock", "--keep", "--format", "json").stdout)
    assert [change["change"] for change in kept["changes"]] == ["changed", "added"]
    assert kept["changes"][0]["after"] == {"sha256": hashlib.sha256(b"new").hexdigest(), "size": 3}
    assert (kept["written"], kept["upToDate"]) == (True, True)


def test_of_two_files_for_one_plugin_the_one_that_is_used_is_locked(injector, work: Path, tmp_path: Path) -> None:
    files(work, "demo-linux-amd64")
    shadowed = tmp_path / "home" / ".configmanager" / "plugins" / "demo" / "demo-linux-amd64"
    shadowed.parent.mkdir(parents=True, mode=0o755)
    shadowed.write_bytes(b"shadowed")
    injector("plugin", "lock")
    assert hashlib.sha256(b"#!demo-linux-amd64").hexdigest() in (work / "injector.plugins.lock").read_text()


def test_the_lock_file_lies_beside_the_settings_file_when_there_is_one(injector, work: Path, plugin: Path) -> None:
    (work / "etc").mkdir()
    (work / "etc" / "injector.yaml").write_text("apiVersion: config-injector.io/v1alpha1\nkind: Injector\n")
    done = injector("plugin", "lock", "--config", "etc/injector.yaml")
    assert done.returncode == 0, done.stderr
    assert (work / "etc" / "injector.plugins.lock").exists()
    plugin.write_bytes(b"#!/bin/false\n")
    assert injector("plugin", "verify", "--config", "etc/injector.yaml").returncode == 7
    assert "[plugin-checksum-mismatch]" in injector("render", "t", "--config", "etc/injector.yaml").stderr
    assert injector("plugin", "verify").returncode == 3, "none in the current directory"


def test_verify_compares_every_platform_and_ends_with_seven_on_a_difference(injector, work: Path) -> None:
    files(work, "demo-linux-amd64", "demo-darwin-arm64", "gone-linux-amd64")
    injector("plugin", "lock")
    done = injector("plugin", "verify")
    assert (done.returncode, done.stdout.count("locked")) == (0, 3), done.stderr
    plugins = work / ".configmanager" / "plugins"
    (plugins / "demo" / "demo-darwin-arm64").write_bytes(b"changed")
    shutil.rmtree(plugins / "gone")
    files(work, "new-linux-amd64")
    done = injector("plugin", "verify", "--format", "json")
    assert done.returncode == 7
    states = {(found["name"], found["platform"]): found["state"] for found in json.loads(done.stdout)["plugins"]}
    assert states == {
        ("demo", "darwin-arm64"): "checksum differs",
        ("demo", "linux-amd64"): "locked",
        ("gone", "linux-amd64"): "not installed",
        ("new", "linux-amd64"): "not in lock file",
    }
    codes = [json.loads(line)["code"] for line in done.stderr.splitlines()]
    assert codes == ["plugin-checksum-mismatch", "plugin-not-locked"]


def test_list_tells_the_lock_state_of_each_file(injector, work: Path) -> None:
    files(work, "demo-linux-amd64", "same-linux-amd64")
    assert "[" not in injector("plugin", "list").stdout
    injector("plugin", "lock")
    (work / ".configmanager" / "plugins" / "demo" / "demo-linux-amd64").write_bytes(b"#!changed")
    files(work, "new-linux-amd64")
    listed = json.loads(injector("plugin", "list", "--format", "json").stdout)["plugins"]
    states = {plugin["prefix"]: plugin.get("lock") for plugin in listed}
    assert states == {
        "ENV": None,
        "FILE": None,
        "AWSPARAMSTR": None,
        "DEMO": "checksum differs",
        "NEW": "not in lock file",
        "SAME": "locked",
    }
    assert "[checksum differs]" in injector("plugin", "list").stdout
