"""
What a plugin program can do wrong, each as a small real program, and what `injector render` has to do about it.

The programs are used by the tests of the host, too. Two kinds: scripts in this file, and the Go program of
tests/integration/go, which does wrong what its token and its environment say. Sources of the list: HashiCorp go-plugin
v1.8.0, client.go; what its own host does about each was found by experiment.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

INJECTOR = Path(sys.executable).with_name("injector")
FIELD_LIKE_A_CERTIFICATE = "A" * 64


def script(text: str) -> str:
    """A shell program."""
    return f"#!/bin/sh\n{text}\n"


def python(text: str) -> str:
    """A Python program that starts fast."""
    return f"#!{sys.executable} -IS\n{text}\n"


def handshake(line: str) -> str:
    """A program that prints *line* and waits."""
    return script(f"echo '{line}'; exec sleep 1000")


LISTENS = """
import os, socket, sys, time
path = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "plugin1")
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
print(f"1|1|unix|{path}|grpc", flush=True)
"""

MALFORMED_HANDSHAKES = (
    ("1|9|unix|/x|grpc", "protocol version 9, and this host speaks 1"),
    ("2|1|unix|/x|grpc", "core version 2"),
    ("x|1|unix|/x|grpc", 'first field "x"'),
    ("warn 1|1|unix|/x|grpc", 'first field "warn 1"'),
    ("1|x|unix|/x|grpc", 'protocol version "x"'),
    ("1|1|pipe|/x|grpc", '"pipe" is neither'),
    ("1|1|unix|x|grpc", "not an absolute path"),
    ("1|1|tcp|nohost:xx|grpc", "no valid port"),
    ("1|1|tcp|192.0.2.1:99|grpc", "not on loopback"),
    ("1|1|unix|/x", '"netrpc"'),
    ("1|1|unix|/x|netrpc", '"netrpc"'),
    ("1|1|unix", "has 3 fields"),
    ("1|1|unix|/x|grpc|!" + FIELD_LIKE_A_CERTIFICATE, "not base64"),
    ("1|1|unix|/x|grpc|" + FIELD_LIKE_A_CERTIFICATE, "gave something that is no certificate"),
    ("1|1|unix|/x|grpc||maybe", "not a truth value"),
)
"""First lines that are no handshake for us, and what the refusal says."""

PROGRAMS = {
    "unknown format": "garbage",
    "no interpreter": "#!/no/such/interpreter\n",
    "ends at once": script('echo "fatal: no credentials" >&2; exit 3'),
    "ends silently": script("exit 0"),
    "leaves a child with its pipes": script("sleep 1000 & echo bye >&2; exit 0"),
    "killed at once": script("kill -KILL $$"),
    "prints garbage": script(r"printf 'one\n\033[2Jtwo\n'; exit 1"),
    "prints a line of 100 KB": script("head -c 100000 /dev/zero | tr '\\0' x; exec sleep 1000"),
    "writes errors for ever": script("yes trouble >&2; exit 1"),
    "says nothing": script("echo wait; sleep 1000"),
    "closes its output": script("exec >&-; sleep 1000"),
    "no socket": handshake("1|1|unix|/does/not/exist|grpc"),
    "no port": handshake("1|1|tcp|127.0.0.1:1|grpc"),
    "never answers": python(LISTENS + "time.sleep(1000)"),
    "not HTTP/2": python(
        LISTENS
        + 'while True:\n    c, _ = listener.accept()\n    c.sendall(b"HTTP/1.1 400 no\\r\\n\\r\\n")\n    c.close()\n'
    ),
    "ends before its first answer": python(
        LISTENS + 'listener.accept()\nprint("cannot serve", file=sys.stderr, flush=True)\nos._exit(4)\n'
    ),
}
"""Programs that never come to serve."""

ENDLESS_NOISE = ("yes garbage", "cat /dev/zero", "yes '' ", "tr -dc 'a-z|' </dev/urandom")


class Fault(NamedTuple):
    """
    One thing that goes wrong, and what is to come of it.

    `program` is the plugin's text, None for the Go program. `says` is a regular expression for the error's message, or
    for standard error when `code` is 0; `value` what is printed then. `within` is in seconds. `upstream` is what
    go-plugin's host does.
    """

    does: str
    code: int
    says: str = ""
    program: str | None = None
    token: str = "a"
    value: str = "a->"
    environment: Mapping[str, str] = {}
    mode: int = 0o755
    within: float = 10.0
    upstream: str = ""


def _faults() -> dict[str, tuple[Fault, ...]]:
    start = {"INJECTOR_PLUGIN_START_TIMEOUT": "1s"}
    call = {"INJECTOR_PLUGIN_CALL_TIMEOUT": "500ms"}
    unrecognized = "`Unrecognized remote plugin message`, without exit code and standard error"
    cannot_run = (
        Fault("is not executable", 7, "not executable", script("exit 0"), mode=0o644, upstream="`permission denied`"),
        Fault("is no program", 7, "Exec format error", PROGRAMS["unknown format"], upstream="`exec format error`"),
        Fault("names an interpreter that is not there", 7, "interpreter", PROGRAMS["no interpreter"],
              upstream="`no such file or directory`"),
        Fault("may be written by everybody", 7, "writ", script("exit 0"), mode=0o777, upstream="runs it"),
    )  # fmt: skip
    malformed = tuple(
        Fault(f"prints `{line.replace(FIELD_LIKE_A_CERTIFICATE, 'AAAA…')}`", 7, re.escape(reason), handshake(line))
        for line, reason in MALFORMED_HANDSHAKES
    )
    before = (
        Fault("ends before its handshake", 7, "exit code 3.*no credentials", PROGRAMS["ends at once"],
              upstream=unrecognized),
        Fault("ends silently with code 0, as go-plugin does when it cannot listen", 7, "exit code 0",
              PROGRAMS["ends silently"], upstream=unrecognized),
        Fault("ends and leaves a child that holds its pipes", 7, "exit code 0.*bye",
              PROGRAMS["leaves a child with its pipes"]),
        Fault("is killed before its handshake", 7, "SIGKILL", PROGRAMS["killed at once"], upstream=unrecognized),
        Fault("prints something else and ends", 7, r'exit code 1; it began with "one"', PROGRAMS["prints garbage"],
              upstream=unrecognized),
        Fault("prints a line over 64 KiB", 7, "began with", PROGRAMS["prints a line of 100 KB"],
              upstream=unrecognized),
        Fault("prints garbage for ever", 7, "garbage", script(f"exec {ENDLESS_NOISE[0]}"), upstream=unrecognized),
        Fault("writes to standard error for ever", 7, "trouble", PROGRAMS["writes errors for ever"], environment=start,
              upstream="`timeout while waiting for plugin to start`"),
        Fault("says nothing", 7, "no handshake within 1 s", PROGRAMS["says nothing"], environment=start,
              upstream="`timeout while waiting for plugin to start`, after a minute"),
        Fault("closes its standard output", 7, "closed its standard output", PROGRAMS["closes its output"],
              upstream=unrecognized),
    )  # fmt: skip
    after = (
        Fault("names a socket that is not there", 7, "does not listen at /does/not/exist", PROGRAMS["no socket"],
              upstream="`no such file or directory` at the first call"),
        Fault("names a port where nobody listens", 7, "does not listen at 127", PROGRAMS["no port"]),
        Fault("listens and never answers", 7, "did not answer", PROGRAMS["never answers"], environment=start),
        Fault("speaks something that is not HTTP/2", 7, "", PROGRAMS["not HTTP/2"],
              environment={"INJECTOR_PLUGIN_START_TIMEOUT": "3s"}),
        Fault("ends before its first answer", 7, "cannot serve|does not listen",
              PROGRAMS["ends before its first answer"], upstream="`Unavailable … EOF`"),
        Fault("has neither GRPCStdio nor GRPCBroker", 0, environment={"FAULT_NETWORK": "tcp"},
              upstream="answered, too"),
    )  # fmt: skip
    calls = (
        Fault("crashes in a call, once", 0, "plugin lost", token="crashonce:3", value="crashonce:3->",
              upstream="`Unavailable … EOF`; the client never works again"),
        Fault("crashes in every call", 7, "exit code 3.*last words.*crash 2 of this plugin", token="exit:3",
              upstream="`Unavailable … EOF`; the client never works again"),
        Fault("does not answer a call", 5, "did not answer in time", token="sleep:60000", environment=call,
              upstream="hangs for ever"),
        Fault("answers with 10 MB", 0, token="big:10000000", value="x" * 10_000_000, upstream="answered, too"),
        Fault("answers with 20 MB", 7, "20000000 bytes", token="big:20000000", upstream="takes up to 2 GiB"),
        Fault("answers with 80 MB", 7, "", token="big:80000000", upstream="takes up to 2 GiB"),
        Fault("answers with what is not UTF-8", 7, "UTF-8", token="notutf8",
              upstream="`string field contains invalid UTF-8`"),
        Fault("answers with status code 99", 5, "", token="code:99", upstream="`code = Code(99)`"),
        Fault("answers NOT_FOUND with a secret in its text", 4, "^(?!.*hunter2)", token="code:5",
              upstream="prints the text"),
        Fault("answers PERMISSION_DENIED", 6, "", token="code:7", upstream="prints the text"),
        Fault("answers with an error text of 20 kB", 5, "", token="error:" + "é" * 10_000, upstream="prints the text"),
        Fault("refuses a request over 4 MiB", 3, "", token="x" * 4_500_000, upstream="`ResourceExhausted`"),
    )  # fmt: skip
    log_line = "{" + '"@message":3' + "}"
    streams = (
        Fault(f"writes `{log_line}` to standard error", 0, token=f"stderr:{log_line}", value=f"stderr:{log_line}->",
              upstream="**panics**"),
        Fault("prints a banner before its handshake", 0, environment={"FAULT_NOISE": "loading\n\nready | go\n"},
              upstream="`Unrecognized remote plugin message`"),
        Fault("floods standard output, standard error and GRPCStdio", 0, token="flood", value="flood->"),
        Fault("inherits PLUGIN_CLIENT_CERT from our parent", 0, environment={"PLUGIN_CLIENT_CERT": "x"},
              upstream="**panics** (nil TLS configuration)"),
        Fault("inherits PLUGIN_MULTIPLEX_GRPC from our parent", 0, environment={"PLUGIN_MULTIPLEX_GRPC": "true"},
              upstream="every plugin fails: `yamux: Invalid protocol version: 80`"),
        Fault("inherits PLUGIN_UNIX_SOCKET_DIR from our parent", 0,
              environment={"PLUGIN_UNIX_SOCKET_DIR": "/does/not/exist"}, upstream="the plugin cannot listen"),
    )  # fmt: skip
    end = (
        Fault("ignores Shutdown and SIGTERM", 0, environment={"FAULT_DEAF": "1"}, upstream="kills after 2 s, too"),
        Fault("has a child process of its own", 0, environment={"FAULT_CHILD": "1"}),
    )
    return {
        "The file cannot be run": cannot_run,
        "The handshake is malformed": malformed,
        "There is no handshake": before,
        "After the handshake": after,
        "In a call": calls,
        "Streams and environment": streams,
        "At the end": end,
    }


FAULTS = _faults()
"""By the heading of the table that they are listed under."""


class Outcome(NamedTuple):
    """What came of a fault. `message` is the error's, with `<plugin>` and `<socket>` for paths."""

    code: int
    message: str
    stdout: str
    stderr: str
    seconds: float
    left: tuple[str, ...]


def run(fault: Fault, go_program: Path, work: Path) -> Outcome:
    """
    Runs `injector render` on one token of a plugin with this fault.

    *go_program* is tests/integration/go, built; *work* an empty directory. `left` names processes and files that are
    still there afterwards.
    """
    plugin = _install(fault, go_program, work)
    with tempfile.TemporaryDirectory(prefix="pf-", dir="/tmp") as temporary:  # short: it is for sockets
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(work),
            "TMPDIR": temporary,
            "FAULT_TRACE": str(work / "trace"),
            "INJECTOR_PASS_ENVIRONMENT": "FAULT_TRACE,FAULT_DEAF,FAULT_CHILD,FAULT_NOISE,FAULT_NETWORK",
            **fault.environment,
        }
        command = [INJECTOR, "render", "-", "--plugin-path", work / "plugins"]
        started = time.monotonic()
        done = subprocess.run(
            command,
            input=f"{{{{ FAULT://{fault.token} }}}}".encode(),
            env=environment,
            cwd=work,
            check=False,
            capture_output=True,
            timeout=100,
        )
        seconds = time.monotonic() - started
        left = (*_processes_of(temporary), *(str(path) for path in Path(temporary).rglob("*")))
    stderr = done.stderr.decode()
    found = re.search(r"error: (.*)", stderr)
    message = found[1] if found else ""
    for path, name in ((str(plugin), "<plugin>"), (temporary, "<tmp>"), (str(work), "<work>")):
        message = message.replace(path, name)
    message = re.sub(r"/?<tmp>/\S*?(?=[\s,;]|$)", "<socket>", message)
    return Outcome(done.returncode, message, done.stdout.decode(), stderr, seconds, left)


def _install(fault: Fault, go_program: Path, work: Path) -> Path:
    from injector.backends.executables import this_platform

    folder = work / "plugins" / "fault"
    folder.mkdir(parents=True, mode=0o755)
    path = folder / f"fault-{this_platform().file_suffix}"
    if fault.program is None:
        path.symlink_to(go_program)
    else:
        path.write_text(fault.program)
        path.chmod(fault.mode)
    return path


def _processes_of(temporary: str) -> tuple[str, ...]:
    """Processes that were given this TMPDIR: the plugin's, and what it started."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == temporary and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"process {process.pid} {process.name()}")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return tuple(found)
