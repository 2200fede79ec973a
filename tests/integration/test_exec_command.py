"""`injector exec` as users run it: their command, its variables, its signals, its terminal, its exit code."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INJECTOR = Path(sys.executable).with_name("injector")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def start(here: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] = subprocess.Popen([INJECTOR, "exec", *arguments], **options)  # type: ignore[call-overload]
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait(PATIENCE)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [INJECTOR, "exec", *arguments],
        check=False,
        capture_output=True,
        timeout=PATIENCE,
        env={**os.environ, **environment},
    )


DUMP = "import os,sys; sys.stdout.buffer.write(os.environb[b'SECRET'])"
AWKWARD = b"p\"a'$HOME`x`\\n \\\n# line two\n\nEND=1\t\xc3\xa9 \xff "


@pytest.mark.parametrize("line", ["SECRET={}", 'SECRET="{}"', "export SECRET='{}'  # and a comment"])
@pytest.mark.parametrize("supervised", [False, True])
def test_the_variable_is_exactly_the_secret(here: Path, line: str, supervised: bool) -> None:
    (here / "secret").write_bytes(AWKWARD)
    (here / "app.env").write_text(line.format(f"FILE://{here}/secret") + "\n")
    again = ["--on-change", "restart"] if supervised else []
    done = run("--env-template", "app.env", *again, "--", sys.executable, "-c", DUMP)
    assert (done.returncode, done.stdout) == (0, AWKWARD), done.stderr


def test_tokens_stand_between_other_text_and_in_several_lines(here: Path) -> None:
    (here / "app.env").write_text('A=1\nSECRET="one $A ENV://NAME two\n  ENV://NAME"\n')
    done = run("--env-template", "app.env", "--", sys.executable, "-c", DUMP, NAME="x y")
    assert done.stdout == b"one $A x y two\n  x y", done.stderr


def test_nothing_of_it_is_on_the_command_line(here: Path) -> None:
    (here / "app.env").write_text("SECRET=ENV://CANARY_SOURCE\n")
    code = "print(open('/proc/self/cmdline').read())"
    done = run("--env-template", "app.env", "--", sys.executable, "-c", code, CANARY_SOURCE="canary-4711")
    assert done.returncode == 0
    assert b"canary" not in done.stdout


def test_a_nul_byte_is_refused_with_the_variables_place(here: Path) -> None:
    (here / "secret").write_bytes(b"a\0b")
    (here / "app.env").write_text(f"A=1\nSECRET=FILE://{here}/secret\n")
    done = run("--env-template", "app.env", "--", "touch", "started")
    assert done.returncode == 3
    assert b"app.env:2:8: error: the value of SECRET holds a NUL byte" in done.stderr
    assert not (here / "started").exists()


@pytest.mark.parametrize(
    ("template", "code", "told"),
    [
        ("SECRET=FILE:///nowhere/at/all", 4, b"app.env:1:8: error: the file /nowhere/at/all does not exist"),
        ("SECRET", 3, b"app.env:1:1: error: SECRET has no value"),
        ("what is this", 3, b"app.env:1:1: error: this is no variable"),
        ('SECRET="FILE:///x[]"', 3, b"app.env:1:9: error: the metadata is empty"),
    ],
)
def test_a_failed_variable_keeps_the_command_from_starting(here: Path, template: str, code: int, told: bytes) -> None:
    (here / "app.env").write_text(template + "\n")
    for more in ([], ["--on-change", "restart"]):
        done = run("--env-template", "app.env", *more, "--", "touch", "started")
        assert done.returncode == code
        assert told in done.stderr
        assert not (here / "started").exists()


@pytest.mark.fault(71, "a command that is missing or cannot be run ends `exec` as it ends a shell")
@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ("no-such-command-4711", 127, b"is not on PATH"),
        ("./nothing", 127, b"does not exist"),
        ("./text", 126, b"is not executable"),
        ("./", 126, b"is not executable"),
        ("./broken", 126, b"is no program for this machine"),
        ("./orphan", 127, b"interpreter or loader does not exist"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--refresh", "1h"]])
def test_a_command_that_cannot_be_run(here: Path, command: str, code: int, told: bytes, more: list[str]) -> None:
    (here / "text").write_text("x")
    (here / "broken").write_bytes(b"\x7fELF but not really")
    (here / "orphan").write_text("#!/no/such/interpreter\n")
    for name in ("broken", "orphan"):
        (here / name).chmod(0o755)
    done = run(*more, "--", command)
    assert done.returncode == code
    assert told in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_variable_that_is_too_large_for_the_kernel_is_named(here: Path) -> None:
    (here / "secret").write_bytes(b"x" * 200_000)
    (here / "app.env").write_text(f"HUGE=FILE://{here}/secret\n")
    done = run("--env-template", "app.env", "--", "true")
    assert done.returncode == 126
    assert b"the largest variable, HUGE, has 200000 bytes" in done.stderr


@pytest.mark.parametrize("more", [[], ["--refresh", "1h"]])
@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)])
def test_the_exit_code_is_the_commands(here: Path, script: str, code: int, more: list[str]) -> None:
    done = run(*more, "--", "sh", "-c", script)
    # Without anything to do later the command *is* the process, so its signal is seen as such.
    assert done.returncode in ((code,) if more else (code, 128 - code))


def test_without_refresh_the_command_takes_the_processs_place(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = start("--", "sh", "-c", "echo $$; kill -0 $PPID; ps 2>&1 >/dev/null", stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=PATIENCE)
    assert int(output.split()[0]) == process.pid


SIGNALS = ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH", "CONT", "TSTP"]


def test_signals_reach_the_command(here: Path, start: Callable[..., subprocess.Popen[bytes]]) -> None:
    code = (
        "import signal, sys, time\n"
        f"names = {SIGNALS!r}\n"
        "for name in names:\n"
        "    told = lambda number, _: print(signal.Signals(number).name[3:], flush=True)\n"
        "    signal.signal(getattr(signal, 'SIG' + name), told)\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(1)\n"
    )
    process = start("--refresh", "1h", "--", sys.executable, "-c", code, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    for name in SIGNALS:
        process.send_signal(getattr(signal, f"SIG{name}"))
        assert process.stdout.readline().decode().strip() == name
    process.stdout.close()


def test_a_changed_variable_restarts_the_command(here: Path, start: Callable[..., subprocess.Popen[bytes]]) -> None:
    (here / "secret").write_text("one")
    (here / "app.env").write_text(f"SECRET=FILE://{here}/secret\n")
    process = start(
        *("--env-template", "app.env", "--on-change", "restart", "--refresh", "300ms", "--"),
        *("sh", "-c", 'trap "echo bye; exit 3" TERM; echo "$SECRET"; while :; do sleep 0.1; done'),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"one\n"
    (here / "new").write_text("two")
    (here / "new").rename(here / "secret")
    assert process.stdout.readline() == b"bye\n"
    assert process.stdout.readline() == b"two\n"
    process.terminate()
    assert process.stdout.readline() == b"bye\n"
    assert process.wait(PATIENCE) == 3  # the code of the command, which ended by itself
    process.stdout.close()


def test_a_command_that_ignores_sigterm_is_killed_after_its_grace(
    here: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    (here / "secret").write_text("one")
    (here / "app.env").write_text(f"SECRET=FILE://{here}/secret\n")
    process = start(
        *("--env-template", "app.env", "--on-change", "restart", "--grace", "500ms", "--refresh", "300ms", "--"),
        *("sh", "-c", 'trap "" TERM; echo "$SECRET"; while :; do sleep 0.1; done'),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"one\n"
    (here / "new").write_text("two")
    (here / "new").rename(here / "secret")
    assert process.stdout.readline() == b"two\n"
    process.stdout.close()


def test_a_refresh_that_fails_leaves_the_command_alone(
    here: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    (here / "secret").write_text("one")
    (here / "app.env").write_text(f"SECRET=FILE://{here}/secret\n")
    process = start(
        *("--env-template", "app.env", "--on-change", "restart", "--refresh", "200ms", "-v", "--"),
        *("sh", "-c", 'echo "$SECRET"; while :; do sleep 0.1; done'),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"one\n"
    (here / "secret").unlink()
    lines = []
    while not any(b"refresh failed" in line for line in lines):
        lines.append(process.stderr.readline())
    time.sleep(1.5)  # several refreshes more
    (here / "new").write_text("two")
    (here / "new").rename(here / "secret")
    assert process.stdout.readline() == b"two\n"
    process.kill()
    rest = process.stderr.read()
    assert b"refresh failed" not in rest  # told once, not each time
    assert b"refresh works again" in rest
    process.stdout.close()
    process.stderr.close()


def test_wrong_usage(here: Path) -> None:
    assert run("--env-template", "app.env").returncode == 2
    assert run("--on-change", "explode", "--", "true").returncode == 2
    assert run("--on-change", "signal:NOPE", "--", "true").returncode == 2
    assert run("--grace", "5", "--", "true").returncode == 2
    assert run("template", "--", "true").returncode == 2  # no output for it


# ----------------------------------------------------------------------------------------------------- the terminal


class Terminal:
    """A shell's place: a terminal of its own in which a session runs; what it shows is collected."""

    def __init__(self, *command: str, **environment: str) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execve(command[0], list(command), {**os.environ, "PS1": "$ ", **environment})
        self.shown = ""

    def type(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    def expect(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.shown!r}"
            ready, _, _ = select.select([self.descriptor], [], [], 0.5)
            if ready:
                try:
                    self.shown += os.read(self.descriptor, 4096).decode(errors="replace")
                except OSError as error:  # everybody has closed it
                    assert text in self.shown, f"{text!r} is not in {self.shown!r}"
                    raise AssertionError from error
        self.shown = self.shown.partition(text)[2]

    def ask(self, line: str, answer: str) -> None:
        """Types a command until it is answered: a line typed while the terminal changes hands may be flushed."""
        for _ in range(10):
            self.type(line)
            deadline = time.monotonic() + 5
            while answer not in self.shown and time.monotonic() < deadline:
                if select.select([self.descriptor], [], [], 0.5)[0]:
                    self.shown += os.read(self.descriptor, 4096).decode(errors="replace")
            if answer in self.shown:
                break
        self.expect(answer)

    def code(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        os.close(self.descriptor)


@pytest.fixture
def terminal(here: Path) -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def make(*command: str, **environment: str) -> Terminal:
        made.append(Terminal(*command, **environment))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("more", ["", "--refresh 1h"])
def test_a_shell_in_it_has_the_terminal(terminal: Callable[..., Terminal], more: str) -> None:
    """As the leader of the terminal's session, as in `docker run -it`."""
    shell = terminal(str(INJECTOR), "exec", *more.split(), "--", "sh", "-i")
    shell.expect("$ ")
    shell.type("echo a$((1+1))b\n")
    shell.expect("a2b")
    shell.expect("$ ")
    shell.type("echo r$((1+1))dy; sleep 1000\n")
    shell.expect("r2dy")
    time.sleep(1)
    shell.type("\x03")  # Ctrl-C ends the sleep, and neither the shell nor us
    shell.expect("$ ")
    shell.type("exit 5\n")
    assert shell.code() == 5


def test_ctrl_c_and_ctrl_z_under_a_shell_with_job_control(terminal: Callable[..., Terminal]) -> None:
    shell = terminal("/bin/sh", "-i")
    shell.expect("$ ")
    shell.type("set -m; PS1='% '\n")
    shell.expect("\n% ")  # the prompt itself, not the echo of the line that sets it
    shell.type(f"{INJECTOR} exec --refresh 1h -- cat | cat\n")
    shell.type("hello\n")
    shell.expect("hello\r\nhello")
    shell.type("\x1a")  # the whole job stops, also we
    shell.expect("% ")
    shell.ask("echo stopped=$((40+2))\n", "stopped=42")
    shell.type("fg\n")
    shell.expect("-- cat | cat")
    shell.type("again\n")
    shell.expect("again\r\nagain")
    shell.type("\x04")
    shell.expect("% ")
    shell.type(f"{INJECTOR} exec --refresh 1h -- sleep 1000\n")
    time.sleep(2)
    shell.type("\x03")
    shell.expect("% ")
    shell.type("echo code=$?\n")
    shell.expect("code=130")
    shell.type("exit 0\n")
    assert shell.code() == 0
