"""The Rust plugin of examples/plugins, where Rust has the target wasm32-unknown-unknown."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from injector import errors
from injector.errors import InjectorError
from injector.model.references import Reference

if TYPE_CHECKING:
    import socket

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugins" / "wasm-extism-rust"
TARGET = "wasm32-unknown-unknown"
pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def kvstore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's module: INJECTOR_TEST_RUST_MODULE names one that was built elsewhere, else cargo builds it."""
    if path := BUILT_ELSEWHERE:
        return Path(path)
    if shutil.which("cargo") is None or shutil.which("rustc") is None:
        pytest.skip("needs cargo and rustc")
    command = ["rustc", "--print", "target-libdir", "--target", TARGET]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode or not list(Path(found.stdout.strip()).glob("libstd-*")):
        pytest.skip(f"needs Rust's standard library for {TARGET}: rustup target add {TARGET}")
    target = tmp_path_factory.mktemp("cargo")
    command = ["cargo", "build", "--locked", "--release", "--target", TARGET]
    subprocess.run(command, cwd=EXAMPLE, check=True, env=os.environ | {"CARGO_TARGET_DIR": str(target)})
    return target / TARGET / "release" / "kvstore.wasm"


BUILT_ELSEWHERE = os.environ.get("INJECTOR_TEST_RUST_MODULE")  # read before the tests' environment is cleaned


def store(connection: socket.socket, head: bytes) -> None:
    path = head.split(b" ")[1].decode()
    known = {
        "/app/db": (200, b"s3cret \xe2\x82\xac"),
        "/secret": (403, b""),
        "/broken": (500, b""),
        "/raw": (200, b"\xff"),
    }
    status, body = known.get(path, (404, b""))
    if b"x-api-key: k3y" not in head.lower():
        status, body = 401, b""
    connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


@pytest.mark.seed("000:49", "000:69", "000:110")
async def test_a_rust_plugin_answers_as_its_store_does(kvstore: Path, start_module: Any, serve: Any) -> None:
    server = serve(store)
    settings = {"base_url": server.origin, "api_key": "k3y", "injector": {"http": {"hosts": [server.origin]}}}
    backend = await start_module("kvstore", kvstore, settings=settings)
    expected: dict[str, Any] = {
        "app/db": "s3cret \u20ac".encode(),
        "none": errors.ValueNotFound,
        "secret": errors.AccessDenied,
        "broken": errors.BackendUnavailable,
        "raw": errors.BackendUnavailable,
    }
    for _ in range(3):  # a fresh instance each: the module refuses to be configured twice
        references = [Reference("KVSTORE", path) for path in expected]
        async for reference, outcome in backend.fetch(references, timeout=60):
            wanted = expected[reference.path]
            got = type(outcome) if isinstance(outcome, InjectorError) else outcome.data.reveal()
            assert got == wanted


async def test_a_rust_plugin_refuses_settings_that_make_no_sense(kvstore: Path, start_module: Any) -> None:
    for settings, said in (({"base_url": "nonsense"}, "base_url is no URL"), ({}, "base_url")):
        backend = await start_module("kvstore", kvstore, settings=settings)
        with pytest.raises(errors.InvalidConfiguration, match=said):
            await anext(backend.fetch([Reference("KVSTORE", "x")], timeout=60))
