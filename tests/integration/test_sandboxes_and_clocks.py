"""Machines that are not as usual: system calls that are forbidden, clocks far away, memory at its end."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from injector.backends.executables import this_platform

if TYPE_CHECKING:
    from collections.abc import Callable

INJECTOR = Path(sys.executable).with_name("injector")
PATIENCE = 90.0

# seccomp(2): memfd_create fails as a sandbox's profile makes it fail. Classic BPF: load the call's number, compare.
_FORBID = """
import ctypes, os, struct, sys
number = {"x86_64": 319, "aarch64": 279}[os.uname().machine]
code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | 1), (0x06, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))
filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(program)))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
assert libc.prctl(38, 1, 0, 0, 0) == 0, "no_new_privs"
assert libc.prctl(22, 2, ctypes.addressof(filter_), 0, 0) == 0, os.strerror(ctypes.get_errno())
try:
    os.memfd_create("x")
except PermissionError:
    os.execv(sys.argv[1], sys.argv[1:])
sys.exit("the kernel did not forbid it")
"""

_LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""

# The calendar's clock only: what runs on the monotonic one must not notice.
_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long shift(void) { const char *text = getenv("TEST_CLOCK_SHIFT"); return text ? atol(text) : 0; }
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (!result && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
    return result;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""


def injector(
    here: Path, *arguments: str, before: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(here / "home"), **(env or {})}
    command = [*before, str(INJECTOR), *arguments]
    return subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False, timeout=100)


@pytest.fixture
def go_plugin(tmp_path: Path, demostore: Path) -> Path:
    """The Go example on the plugin path, and a template `t` that asks it."""
    folder = tmp_path / ".configmanager" / "plugins" / "demo"
    folder.mkdir(parents=True, mode=0o755)
    path = folder / f"demo-{this_platform().file_suffix}"
    shutil.copy(demostore, path)
    path.chmod(0o755)
    (tmp_path / "t").write_text("a=DEMO:///x")
    return path


@pytest.fixture(scope="session")
def forbidding(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What comes before a command that is to run without memory files."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("the filter is written for Linux on x86_64 and aarch64")
    program = tmp_path_factory.mktemp("sandbox") / "without_memfd.py"
    program.write_text(_FORBID)
    probe = subprocess.run([sys.executable, program, shutil.which("true") or ""], check=False, capture_output=True)
    if probe.returncode:
        pytest.skip(f"no seccomp filter can be set here: {probe.stderr.decode()[-200:]}")
    return sys.executable, str(program)


@pytest.mark.fault(40, "a locked plugin is checked and answers also where the kernel refuses memory files")
def test_a_locked_plugin_answers_where_memory_files_are_forbidden(
    tmp_path: Path, go_plugin: Path, forbidding: tuple[str, str]
) -> None:
    assert injector(tmp_path, "plugin", "lock").returncode == 0
    done = injector(tmp_path, "render", "t", "--plugin-verify", "required", before=forbidding)
    assert (done.returncode, done.stdout) == (0, "a=demo value of /x"), done.stderr
    with go_plugin.open("ab") as file:
        file.write(b"\n")
    done = injector(tmp_path, "render", "t", "--plugin-verify", "required", before=forbidding)
    assert (done.returncode, done.stdout) == (7, "")
    assert "injector plugin lock" in done.stderr  # the plugin is not the locked one


@pytest.fixture(scope="session")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], dict[str, str]]:
    """Environment of a process whose calendar shows the time that is given, and goes on from there."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("another calendar needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(_CLOCK)
    library = folder / "clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, folder / "clock.c", "-ldl"], check=True)

    def at(moment: float) -> dict[str, str]:
        return {"LD_PRELOAD": str(library), "TEST_CLOCK_SHIFT": str(int(moment - time.time()))}

    shown = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        env=os.environ | at(2**31),
        check=True,
        capture_output=True,
    )
    assert 0 <= float(shown.stdout) - 2**31 + 1 < 3_600  # else the tests below would show nothing
    return at


YEARS = {"2038": 2**31 - 1, "2106": 2**32 + 5, "1970": 60, "a leap second": 1483228799}


@pytest.mark.fault(49, "files are rendered in 2038, 2106 and 1970, and in any time zone, also one that does not exist")
@pytest.mark.parametrize(
    ("year", "zone"), list(zip(YEARS, ("Nowhere/At_All", ":", "Asia/Kathmandu", "<-99>99:59:59"), strict=True))
)
def test_a_render_in_another_time(
    tmp_path: Path, clock: Callable[[float], dict[str, str]], year: str, zone: str
) -> None:
    (tmp_path / "t").write_text("a=ENV://NAME")
    environment = {"NAME": "value", "TZ": zone, "INJECTOR_LOG_FORMAT": "json", **clock(YEARS[year])}
    done = injector(tmp_path, "render", "t", "--output-dir", "out", env=environment)
    assert (done.returncode, (tmp_path / "out" / "t").read_text()) == (0, "a=value"), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.fault(49, "files are rendered in 2038, 2106 and 1970, and in any time zone, also one that does not exist")
def test_a_sidecar_goes_on_over_the_end_of_32_bit_time(
    tmp_path: Path, clock: Callable[[float], dict[str, str]]
) -> None:
    (tmp_path / "secret").write_text("one")
    (tmp_path / "t").write_text(f"a=FILE://{tmp_path}/secret")
    log, out = tmp_path / "log", tmp_path / "out" / "t"
    with log.open("wb") as stderr:
        sidecar = subprocess.Popen(
            [INJECTOR, "run", "t", "--output-dir", "out", "--refresh", "200ms"],
            cwd=tmp_path,
            stderr=stderr,
            env={**os.environ, "TZ": "Nowhere/At_All", "INJECTOR_LOG_FORMAT": "json", **clock(2**31 - 2)},
        )
    try:
        _until(lambda: out.exists() and out.read_text() == "a=one", log)
        time.sleep(3)  # the second passes that does not fit 32 bits
        (tmp_path / "secret").write_text("two")
        _until(lambda: out.read_text() == "a=two", log)
        sidecar.terminate()
        assert sidecar.wait(PATIENCE) == 0
    finally:
        sidecar.kill()
        sidecar.wait()
    assert "Traceback" not in log.read_text()
    assert re.search(r'"2038-01-19T03:14:\d\d', log.read_text()), log.read_text()


def _until(condition: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@pytest.mark.fault(73, "a render that gets no more memory says so and ends with 71; the old file stays whole")
@pytest.mark.parametrize("size", [60, 80, 200])
def test_a_render_at_the_limit_of_its_memory(tmp_path: Path, size: int) -> None:
    (tmp_path / "big").write_bytes(b"x" * (30 << 20))
    (tmp_path / "t").write_text(f"a=FILE://{tmp_path}/big")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "t").write_text("the old file")
    command = (sys.executable, "-c", _LIMITED, str(size << 20))
    environment = {"INJECTOR_MAX_VALUE_SIZE": "64Mi"}
    done = injector(tmp_path, "render", "t", "--output-dir", "out", before=command, env=environment)
    content = (tmp_path / "out" / "t").read_bytes()
    if size < 100:
        assert (done.returncode, content) == (71, b"the old file")
        assert done.stderr.startswith("error: there is no more memory for this\n")
    else:
        assert (done.returncode, content) == (0, b"a=" + b"x" * (30 << 20)), done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["t"]
