"""`injector deliver`: a program that starts others with variables from rendered files, in images that have nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

INJECTOR = Path(sys.executable).with_name("injector")
PATIENCE = 60.0

# A program that needs no file of its image: it prints its arguments and one variable of its environment.
STATIC = r"""
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **arguments) {
    const char *value = getenv("DB");
    for (int i = 1; i < count; i++) printf("%s,", arguments[i]);
    printf("%s", value ? value : "(none)");
    return 3;
}
"""


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image that holds our program at /injector/exec and nothing else."""
    root = tmp_path_factory.mktemp("image")
    (root / "injector").mkdir()
    deliver(root / "injector" / "exec")
    return root


def deliver(directory: Path) -> None:
    subprocess.run([INJECTOR, "deliver", directory], check=True, timeout=PATIENCE)


def start(
    program: Path, *arguments: str | bytes | Path, root: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """As the webhook writes it, with `program` for /injector/exec."""
    command = [*(program / "loader", "--library-path", program / "lib", program / "python3", "-I", "-S", "-B")]
    return subprocess.run(
        [*(["chroot", root] if root else []), *command, "-X", "utf8", program / "run.py", *arguments],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        env={"PATH": os.environ["PATH"], **environment},
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot(2) needs root")
@pytest.mark.skipif(shutil.which("chroot") is None, reason="there is no chroot")
def test_it_runs_where_there_is_no_c_library_and_no_shell(delivered: Path) -> None:
    source = delivered / "app.c"
    source.write_text(STATIC)
    built = subprocess.run(["gcc", "-static", "-o", delivered / "app", source], capture_output=True, check=False)
    if built.returncode:
        pytest.skip("gcc makes no static programs here")
    (delivered / "env").mkdir(exist_ok=True)
    (delivered / "env" / "DB").write_bytes(b"it's $(x) \xff\n")
    done = start(Path("/injector/exec"), "/env", "DB", "--", "/app", "-x", b"\xfe", root=delivered, DB="the token")
    assert (done.returncode, done.stderr) == (3, b"")
    assert done.stdout == b"-x,\xfe,it's $(x) \xff\n"


def test_the_variable_is_what_is_in_the_file_and_the_rest_stays(delivered: Path, tmp_path: Path) -> None:
    (tmp_path / "A").write_bytes(b"one\ntwo 'three'\n")
    (tmp_path / "B").write_bytes(b"")
    program = "import os, json; print(json.dumps([os.environ.get(name) for name in ('A', 'B', 'C')] + [os.getppid()]))"
    command = (sys.executable, "-c", program)
    done = start(delivered / "injector/exec", tmp_path, "A", "B", "--", *command, A="token", C="kept", LC_ALL="C")
    assert done.stdout.decode() == f'["one\\ntwo \'three\'\\n", "", "kept", {os.getpid()}]\n', "in its place, no child"


@pytest.mark.parametrize(
    ("names", "command", "code", "told"),
    [
        (["MISSING"], ["/bin/true"], 126, b"/MISSING: no such file or directory"),
        (["NUL"], ["/bin/true"], 126, b"/NUL: holds a NUL character, which no variable can"),
        ([], ["no-such-program-4711"], 127, b"no-such-program-4711: not found"),
        ([], ["/no/such/program"], 127, b"/no/such/program: not found"),
        ([], ["/etc/passwd"], 126, b"/etc/passwd: permission denied"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_shells_exit_code(
    delivered: Path, tmp_path: Path, names: list[str], command: list[str], code: int, told: bytes
) -> None:
    (tmp_path / "NUL").write_bytes(b"hunter2\0")
    done = start(delivered / "injector/exec", tmp_path, *names, "--", *command)
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert line.startswith(b"injector: ")
    assert line.endswith(told)
    assert b"hunter2" not in done.stderr


def test_a_name_without_a_slash_is_looked_for_in_path(delivered: Path, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\necho found\n")
    (tmp_path / "tool").chmod(0o755)
    done = start(delivered / "injector/exec", tmp_path, "--", "tool", PATH=f"/nowhere:{tmp_path}")
    assert done.stdout == b"found\n"


def test_it_is_delivered_again_when_the_container_starts_again(tmp_path: Path) -> None:
    deliver(tmp_path / "exec")
    deliver(tmp_path / "exec")
    assert not list(tmp_path.rglob("*.new"))
    (tmp_path / "A").write_text("1")
    assert start(tmp_path / "exec", tmp_path, "A", "--", "env").stdout.splitlines()[-1] == b"A=1"


def test_everybody_may_run_it(delivered: Path) -> None:
    for path in (delivered / "injector" / "exec").rglob("*"):
        assert path.stat().st_mode & 0o555 == (0o555 if path.is_dir() or path.suffix != ".py" else 0o444)


def test_a_directory_that_cannot_be_written_ends_with_9(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [INJECTOR, "deliver", tmp_path / "file" / "exec"], capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 9
    assert b"cannot be written" in done.stderr
    assert b"Traceback" not in done.stderr
