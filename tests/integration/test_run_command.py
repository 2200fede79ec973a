"""`injector run` as users run it: a process with a log, a terminal's or a pod's signals, and files that stay whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INJECTOR = Path(sys.executable).with_name("injector")


class RunningSidecar:
    """The process, its log as JSON lines, and the directory that it writes to."""

    def __init__(self, here: Path, *arguments: str, **environment: str) -> None:
        self._log = here / "log"
        self.out = here / "out"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [INJECTOR, "run", *arguments],
                cwd=here,
                stderr=log,
                env={**os.environ, "INJECTOR_LOG_FORMAT": "json", **environment},
            )

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in self._log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [entry for entry in entries if event in ("", entry["event"])]

    def logged(self, event: str, *, times: int = 1) -> dict[str, Any]:
        """The entry *event*; waits until it is there so often."""
        eventually(lambda: len(self.lines(event)) >= times or self.process.poll() is not None)
        assert len(self.lines(event)) >= times, self._log.read_text()
        return self.lines(event)[times - 1]

    def has(self, name: str, content: str) -> None:
        """Waits until an output has this content."""

        def is_so() -> bool:
            path = self.out / name
            return path.exists() and path.read_text() == content

        eventually(is_so)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def replace(path: Path, content: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(content)
    new.rename(path)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "app.conf").write_text(f"password=FILE://{tmp_path}/secret\n")
    (tmp_path / "secret").write_text("one")
    return tmp_path


@pytest.fixture
def sidecar(here: Path) -> Iterator[Callable[..., RunningSidecar]]:
    running: list[RunningSidecar] = []

    def start(*arguments: str, **environment: str) -> RunningSidecar:
        running.append(RunningSidecar(here, *(arguments or ("templates", "--output-dir", "out")), **environment))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait(PATIENCE)


COMMON = ("templates", "--output-dir", "out")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_renders_says_so_and_ends_with_zero(sidecar: Callable[..., RunningSidecar], number: signal.Signals) -> None:
    one = sidecar()
    started = one.logged("started")
    one.has("app.conf", "password=one\n")
    assert (started["files"], started["failed"], started["ready"]) == (1, 0, True)
    assert 0 < started["next_refresh"] <= 300
    assert one.stop(number) == 0
    assert one.logged("stopped")
    assert "one" not in "".join(str(line) for line in one.lines() if line["event"] != "started")


def test_a_value_changes_with_the_refresh(sidecar: Callable[..., RunningSidecar], here: Path) -> None:
    one = sidecar(*COMMON, "--refresh", "200ms")
    one.has("app.conf", "password=one\n")
    replace(here / "secret", "two")
    one.has("app.conf", "password=two\n")


def test_sighup_asks_for_all_values_and_sigusr1_for_nothing(sidecar: Callable[..., RunningSidecar], here: Path) -> None:
    one = sidecar(*COMMON, "--refresh", "1h")
    one.logged("started")
    one.process.send_signal(signal.SIGUSR1)
    replace(here / "secret", "two")
    one.process.send_signal(signal.SIGHUP)
    one.has("app.conf", "password=two\n")
    assert one.stop() == 0


def test_sighup_reads_the_settings_again(sidecar: Callable[..., RunningSidecar], here: Path) -> None:
    head = "apiVersion: config-injector.io/v1alpha1\nkind: Injector\n"
    settings = here / "injector.yaml"
    settings.write_text(head + "inputs: [templates]\noutputDir: out\nonMissing: empty\n")
    (here / "templates" / "other.conf").write_text("x=ENV://NOT_SET_4711\n")
    one = sidecar("--config", "injector.yaml")
    one.has("other.conf", "x=\n")
    settings.write_text(head + "inputs: [templates]\noutputDir: out\nonMissing: default\ndefaultValue: none\n")
    one.process.send_signal(signal.SIGHUP)
    one.has("other.conf", "x=none\n")
    one.has("app.conf", "password=one\n")
    assert one.stop() == 0


@pytest.mark.fault(58, "a sidecar whose backend is down when it starts keeps trying, and is not ready meanwhile")
def test_what_is_not_there_at_the_start_is_waited_for(sidecar: Callable[..., RunningSidecar], here: Path) -> None:
    (here / "secret").unlink()
    one = sidecar(*COMMON, "--refresh", "300ms", "--listen", "127.0.0.1:0")
    address = one.logged("serving health, metrics and status")["address"]
    started = one.logged("started")
    assert (started["failed"], started["ready"]) == (1, False)
    with pytest.raises(urllib.error.HTTPError) as refused, urllib.request.urlopen(f"http://{address}/readyz"):
        raise AssertionError
    refused.value.close()
    assert refused.value.code == 503
    (here / "secret").write_text("late")
    one.has("app.conf", "password=late\n")
    eventually(lambda: _status(f"http://{address}/readyz") == 200)


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_an_error_is_told_once_and_so_is_its_end(sidecar: Callable[..., RunningSidecar], here: Path) -> None:
    one = sidecar(*COMMON, "--refresh", "100ms")
    one.has("app.conf", "password=one\n")
    (here / "secret").unlink()
    failed = one.logged("file is stale, the last good one stays")
    assert failed["place"].endswith("app.conf:1:10")
    time.sleep(3)
    assert len(one.lines("file is stale, the last good one stays")) == 1
    (here / "secret").write_text("two")
    one.has("app.conf", "password=two\n")
    assert one.logged("recovered")["template"].endswith("app.conf")


HEAD = "apiVersion: config-injector.io/v1alpha1\nkind: Injector\ninputs: [templates]\noutputDir: out\n"


def telling(here: Path, file: str = "told") -> str:
    """Settings whose notification writes down which outputs it is told of, a line for each time."""
    command = f'echo $(echo "$INJECTOR_OUTPUTS" | xargs -n 1 basename) >> {here}/{file}'
    return HEAD + f"refresh: 200ms\nprune: true\ndebounceMin: 300ms\nnotify:\n  - exec: [sh, -c, '{command}']\n"


def told(here: Path, file: str = "told") -> list[str]:
    path = here / file
    return path.read_text().splitlines() if path.exists() else []


def test_the_application_is_told_of_a_change_but_not_of_the_first_file(
    sidecar: Callable[..., RunningSidecar], here: Path
) -> None:
    (here / "injector.yaml").write_text(telling(here))
    one = sidecar("--config", "injector.yaml")
    one.logged("started")
    time.sleep(2)
    assert told(here) == []
    replace(here / "secret", "two")
    eventually(lambda: told(here) == ["app.conf"])
    assert one.stop() == 0


def test_the_application_is_told_of_files_that_come_and_go_after_the_start(
    sidecar: Callable[..., RunningSidecar], here: Path
) -> None:
    (here / "injector.yaml").write_text(telling(here))
    one = sidecar("--config", "injector.yaml")
    one.logged("started")
    replace(here / "templates" / "late.conf", "late\n")
    eventually(lambda: told(here) == ["late.conf"])
    (here / "templates" / "late.conf").unlink()
    eventually(lambda: not (one.out / "late.conf").exists())
    eventually(lambda: told(here) == ["late.conf", "late.conf"])


def test_a_sidecar_that_starts_again_tells_of_what_changed_while_it_was_away(
    sidecar: Callable[..., RunningSidecar], here: Path
) -> None:
    (here / "injector.yaml").write_text(telling(here))
    (here / "templates" / "same.conf").write_text("same\n")
    one = sidecar("--config", "injector.yaml")
    one.logged("started")
    assert one.stop() == 0
    replace(here / "secret", "two")
    again = sidecar("--config", "injector.yaml")
    again.has("app.conf", "password=two\n")
    eventually(lambda: told(here))
    assert told(here) == ["app.conf"]
    assert again.stop() == 0
    again = sidecar("--config", "injector.yaml")
    again.logged("started")
    time.sleep(2)
    assert told(here) == ["app.conf"]


def test_the_first_file_of_a_store_that_was_down_is_not_told(
    sidecar: Callable[..., RunningSidecar], here: Path
) -> None:
    (here / "secret").unlink()
    (here / "injector.yaml").write_text(telling(here))
    one = sidecar("--config", "injector.yaml")
    assert one.logged("started")["failed"] == 1
    replace(here / "secret", "late")
    one.has("app.conf", "password=late\n")
    time.sleep(2)
    assert told(here) == []


def test_notifications_of_new_settings_hold_at_once(sidecar: Callable[..., RunningSidecar], here: Path) -> None:
    (here / "injector.yaml").write_text(telling(here))
    one = sidecar("--config", "injector.yaml")
    one.logged("started")
    replace(here / "injector.yaml", telling(here, "told-anew"))
    one.logged("settings reloaded")
    replace(here / "secret", "two")
    eventually(lambda: told(here, "told-anew") == ["app.conf"])
    assert told(here) == []


def test_wrong_usage(here: Path) -> None:
    for arguments in ([], ["templates"], ["templates", "--output-dir", "out", "--refresh", "often"]):
        done = subprocess.run(
            [INJECTOR, "run", *arguments], cwd=here, capture_output=True, check=False, timeout=PATIENCE
        )
        assert done.returncode in (2, 3)
        assert b"Traceback" not in done.stderr


def test_a_port_in_use_ends_it_at_once(sidecar: Callable[..., RunningSidecar]) -> None:
    first = sidecar(*COMMON, "--listen", "127.0.0.1:0")
    address = first.logged("serving health, metrics and status")["address"]
    second = subprocess.run(
        [INJECTOR, "run", *COMMON, "--listen", address],
        cwd=first.out.parent,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert second.returncode not in (0, 70)
    assert b"Traceback" not in second.stderr


# Forks instead of starting: hundreds of sidecars in half a minute.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
from injector.cli.main import main
import asyncio, injector.app.running, injector.app.reconcile.engine, injector.notify.notifier, structlog
here, deadline = Path(sys.argv[1]), time.monotonic() + float(sys.argv[2])
arguments = ["run", str(here / "many"), "--output-dir", str(here / "out"), "--refresh", "10ms", "-q"]
runs = slowest = 0
while time.monotonic() < deadline or runs < 20:
    child = os.fork()
    if child == 0:
        os._exit(main(arguments))
    until = time.monotonic() + random.uniform(0.02, 0.25)
    number = 0
    while time.monotonic() < until:
        number += 1
        new = here / "value.new"
        new.write_text(f"{runs:06}.{number:06}")
        new.rename(here / "value")
    sent = time.monotonic()
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    runs, slowest = runs + 1, max(slowest, time.monotonic() - sent)
    assert os.waitstatus_to_exitcode(status) == 0, status
    for path in (here / "out").glob("*"):
        lines = path.read_text().split()
        assert path.name.startswith("file"), path
        assert len(lines) == 2000 and len(set(lines)) == 1, (path, len(lines), set(lines))
print(runs, round(slowest, 2))
"""


@pytest.mark.fault(29, "SIGTERM at any moment leaves whole files, nothing temporary, and exit code 0 within 5 s")
def test_sigterm_at_random_moments_never_tears_a_file(here: Path) -> None:
    (here / "many").mkdir()
    (here / "value").write_text("first")
    for number in range(5):
        (here / "many" / f"file{number}").write_text(f"FILE://{here}/value\n" * 2000)
    done = subprocess.run(
        [sys.executable, "-P", "-c", KILLER, here, "30"], capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stderr[-3000:]
    runs, slowest = done.stdout.split()
    assert int(runs) >= 20
    assert float(slowest) < 30  # a twentieth of a second as a rule; this machine may be busy
