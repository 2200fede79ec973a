"""
tests/e2e/run.sh with stand-ins for the scripts of a node: what it answers without a cluster, and that nothing is left.

A real node is for `make e2e` itself; the stand-ins fail at a step of our choice, which a real one cannot be made to.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "e2e" / "run.sh"
PATIENCE = 60.0
STEP = 'echo "{name} $*" >> "$RECORD"; if [ "${{FAIL:-}}" = {name} ]; then exit 7; fi\n'
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="run.sh starts a node as root only, and asks that first")


class Script:
    def __init__(self, directory: Path) -> None:
        self.record, self.temporary = directory / "record", directory / "tmp"
        self.record.touch()
        self.temporary.mkdir()
        programs = directory / "bin"
        programs.mkdir()
        for name, more in (
            ("build.sh", 'mkdir -p "$1/bin"'),
            ("up.sh", ""),
            ("down.sh", ""),
            ("enter.sh", 'shift; exec "$@"'),
            ("kubectl", ""),
            ("ctr", ""),
        ):
            program = programs / name
            program.write_text("#!/bin/sh\n" + STEP.format(name=name) + more + "\n")
            program.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("E2E_")}
        self.environment = kept | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "RECORD": str(self.record),
            "TMPDIR": str(self.temporary),
            "E2E_NODE_SCRIPTS": str(programs),
            "E2E_IMAGE_ARCHIVE": "/dev/null",
            "E2E_COMMAND": "true",
        }

    def start(self, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(RUN)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment | environment,
            start_new_session=True,
        )

    def done(self, **environment: str) -> tuple[int, str]:
        """Exit code and output."""
        process = self.start(**environment)
        text, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, text

    @property
    def steps(self) -> list[str]:
        return [line.split()[0] for line in self.record.read_text().splitlines()]

    def left(self) -> list[str]:
        return os.listdir(self.temporary)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


@needs_root
@pytest.mark.parametrize("step", ["build.sh", "up.sh", "kubectl"])
def test_without_a_node_nothing_is_run_and_that_is_said(script: Script, step: str) -> None:
    """`kubectl`: the node is there, and runs no container."""
    command = 'echo "tests" >> "$RECORD"'
    code, text = script.done(FAIL=step, E2E_COMMAND=command)
    assert (code, "no cluster to test on" in text) == (2, True)
    code, text = script.done(FAIL=step, E2E_COMMAND=command, E2E_OPTIONAL="1")
    assert (code, "the cluster tests were NOT run" in text) == (0, True)
    assert "tests" not in script.steps
    assert script.steps.count("down.sh") == 2
    assert not script.left()


def test_a_machine_without_the_scripts_is_no_failure_when_that_is_allowed(script: Script, tmp_path: Path) -> None:
    elsewhere = str(tmp_path / "none")
    assert script.done(E2E_NODE_SCRIPTS=elsewhere)[0] == 2
    code, text = script.done(E2E_NODE_SCRIPTS=elsewhere, E2E_OPTIONAL="1")
    assert (code, "NOT run" in text) == (0, True)
    assert not script.steps


@needs_root
def test_failing_tests_are_a_failure_and_the_node_is_taken_down(script: Script) -> None:
    assert script.done(E2E_COMMAND="exit 1", E2E_OPTIONAL="1")[0] == 1
    assert script.steps[-1] == "down.sh"
    assert not script.left()
    assert script.done()[0] == 0


@needs_root
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_is_answered_at_once_and_leaves_nothing(script: Script, number: signal.Signals, code: int) -> None:
    running = script.record.with_name("running")
    if signal.getsignal(number) is signal.SIG_IGN:  # as below nohup; a shell cannot trap what it was told to ignore
        signal.signal(number, signal.SIG_DFL)
    process = script.start(E2E_COMMAND='echo $$ > "$RUNNING.new"; mv "$RUNNING.new" "$RUNNING"; exec sleep 600',
                           RUNNING=str(running))  # fmt: skip
    try:
        end = time.monotonic() + PATIENCE
        while not running.exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        sleeping = int(running.read_text())
    finally:
        os.killpg(process.pid, number)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert not Path(f"/proc/{sleeping}").exists()
    assert script.steps[-1] == "down.sh"
    assert not script.left()


@needs_root
def test_a_hang_is_ended_by_the_limit(script: Script) -> None:
    code, text = script.done(E2E_COMMAND="sleep 600", E2E_TIMEOUT="3", E2E_OPTIONAL="1")
    assert (code, "not done after 3 s" in text) == (124, True)
    assert script.steps[-1] == "down.sh"
    assert not script.left()
