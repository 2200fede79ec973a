"""No core file, no debugger of the same user, and no value in what Python prints by itself."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

INJECTOR = Path(sys.executable).with_name("injector")
CANARY = "canary-S3cret-4711"
HARDEN = "from injector.process.hardening import harden, make_streams_safe, watch_loop\nmake_streams_safe(); harden()\n"


def run(code: str, *, cwd: Path | None = None, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", code]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(command, text=True, cwd=cwd, timeout=60, check=False, **options)  # type: ignore[call-overload]


@pytest.mark.fault(68, "no core file, even with ulimit -c unlimited")
def test_a_crash_leaves_no_core_file(tmp_path: Path) -> None:
    def allow() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    code = (
        f"{HARDEN}secret = {CANARY!r}\nimport os, signal, resource\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0], flush=True)\nos.kill(os.getpid(), signal.SIGSEGV)"
    )
    done = run(code, cwd=tmp_path, preexec_fn=allow)
    assert done.returncode == -signal.SIGSEGV
    assert done.stdout == "0\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_DUMPABLE is Linux's")
@pytest.mark.fault(68, "processes of the same user can neither attach a debugger nor read its memory")
def test_the_same_user_cannot_read_its_memory() -> None:
    code = (
        f"{HARDEN}import ctypes\nprint(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)\ninput()"  # PR_GET_DUMPABLE
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        if os.geteuid() != 0:
            with pytest.raises(PermissionError):
                Path(f"/proc/{process.pid}/environ").read_bytes()
        process.communicate("\n")


@pytest.mark.fault(66, "what nobody caught is told by type and place, in threads, tasks and finalizers too")
@pytest.mark.parametrize(
    "code",
    [
        f"raise ValueError({CANARY!r})",
        f"import threading\ndef f(): raise ValueError({CANARY!r})\nt = threading.Thread(target=f); t.start(); t.join()",
        f"class A:\n    def __del__(self): raise ValueError({CANARY!r})\nA(); print('done')",
        "import asyncio, sys\nfrom injector.telemetry.logs import Log\n"  # noqa: ISC004  # one program
        f"async def f(): raise ValueError({CANARY!r})\n"
        "async def main():\n"
        "    watch_loop(asyncio.get_running_loop(), Log().error)\n"
        "    t = asyncio.ensure_future(f()); await asyncio.sleep(0.01); del t\n"
        f"    asyncio.get_running_loop().call_soon(lambda: 1 / len({CANARY!r}[:0])); await asyncio.sleep(0.01)\n"
        "asyncio.run(main())",
    ],
    ids=["main", "thread", "finalizer", "task"],
)
def test_an_uncaught_error_prints_no_value(code: str) -> None:
    done = run(HARDEN + code)
    assert "canary" not in done.stderr
    assert "ValueError" in done.stderr
    assert "line" not in done.stderr or "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_standard_stream_is_not_taken_by_the_next_file(closed: int, tmp_path: Path) -> None:
    code = (
        f"import os\nos.close({closed})\nimport sys\n{HARDEN}"
        f"descriptor = os.open({str(tmp_path / 'file')!r}, os.O_CREAT | os.O_WRONLY)\n"
        "print('to stderr', file=sys.stderr)\nassert descriptor > 2, descriptor\n"
        "sys.stderr.flush()\n"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.fault(75, "a render whose standard error is full or gone writes its files and ends with 0")
@pytest.mark.parametrize("stderr", ["full", "closed", "pipe"])
def test_a_render_survives_its_standard_error(stderr: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a=ENV://DEMO")
    redirect = {"full": "2>/dev/full", "closed": "2>&-", "pipe": "2> >(exec true)"}[stderr]
    script = f"exec {INJECTOR} render in -o out -vv {redirect}"
    environment = {"PATH": os.environ["PATH"], "DEMO": "value"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, timeout=60, check=False)
    assert done.returncode == 0
    assert (tmp_path / "out").read_text() == "a=value"


@pytest.mark.fault(75, "a standard output that is full or closed is exit code 9 with a message")
@pytest.mark.parametrize("redirect", [">/dev/full", ">&-"])
def test_a_standard_output_that_takes_nothing_is_told(redirect: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a=ENV://DEMO")
    script = f"exec {INJECTOR} render in {redirect}"
    environment = {"PATH": os.environ["PATH"], "DEMO": "value"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, timeout=60, check=False, capture_output=True, text=True
    )
    assert done.returncode == 9
    assert done.stderr.count("standard output cannot be written") == 1
