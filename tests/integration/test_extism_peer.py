"""The same module under Extism's own host (PyPI `extism`) and under ours: the same answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

extism = pytest.importorskip("extism", reason="needs the package extism, whose library has no build for this platform")

PROBE = Path(__file__).resolve().parent / "extismprobe"
SETTINGS = {"secret": "s3cret", "ä": "\u20ac"}
pytestmark = [pytest.mark.go, pytest.mark.anyio]


@pytest.fixture
def peer(build_wasm: Callable[[Path], Path], monkeypatch, tmp_path) -> Callable[..., Any]:
    """`peer(settings, hosts=[...])`: a function (export, input) of a fresh instance under Extism's host."""
    monkeypatch.setenv("EXTISM_CACHE_CONFIG", "")  # its cache wants a home that can be written

    def make(settings: dict[str, str], hosts: tuple[str, ...] = ()) -> Any:
        manifest = {"wasm": [{"path": str(build_wasm(PROBE))}], "config": settings, "allowed_hosts": list(hosts)}

        def call(export: str, data: bytes) -> bytes:
            with extism.Plugin(manifest, wasi=True) as plugin:
                plugin.call("plugin_configure", json.dumps(settings).encode())
                return bytes(plugin.call(export, data))

        return call

    return make


@pytest.mark.parametrize(
    ("export", "data"),
    [
        *(("probe", text) for text in ("echo:", "echo:hi", "echo:\u20ac\0x", "state", "config:secret", "config:ä")),
        *(("probe", text) for text in ("config:none", "vars:0", "vars:1", "vars:100000")),
        *(("probe", text) for text in ("big:3000000", "files", "log:x")),
        ("resolve", '{"version":1,"references":[{"path":"secret","metadata":{}},{"path":"binary","metadata":{}}]}'),
        ("resolve", '{"version":1,"references":[{"path":"facts","metadata":{"a":"b"}}]}'),
        ("resolve", '{"version":1,"references":[]}'),
        ("resolve", "x" * 300_000),
    ],
)  # fmt: skip
async def test_both_hosts_get_the_same_answer(
    peer, start_module, build_wasm, wasm_cache, export: str, data: str
) -> None:
    ours = await start_module("probe", build_wasm(PROBE), settings=SETTINGS, cache=wasm_cache)
    theirs = peer(SETTINGS)
    answers = []
    for ask in (lambda: ours.call(export, data.encode(), timeout=60), lambda: _later(theirs, export, data.encode())):
        try:
            answers.append(await ask())
        except Exception as error:  # noqa: BLE001 - only the guest's own text is compared
            answers.append("no batch" in str(error))
    assert answers[0] == answers[1]
    assert answers[0] != False  # noqa: E712 - b"" is an answer


async def test_both_hosts_get_the_same_http(peer, start_module, build_wasm, wasm_cache, serve) -> None:
    # Without a header: Extism hands those of responses out only when its embedder says so.
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    settings: dict[str, Any] = {"injector": {"http": {"hosts": [server.origin]}}}
    ours = await start_module("probe", build_wasm(PROBE), settings=settings, cache=wasm_cache)
    data = f"get:{server.origin}/x?y=z".encode()
    answers = {await ours.call("probe", data, timeout=60), peer({}, ("127.0.0.1",))("probe", data)}
    assert answers == {b"200  hi"}
    lines = [head.split(b"\r\n") for head in server.heads]
    assert lines[0][0] == lines[1][0] == b"GET /x?y=z HTTP/1.1"


async def _later(call: Any, export: str, data: bytes) -> bytes:
    return bytes(call(export, data))
