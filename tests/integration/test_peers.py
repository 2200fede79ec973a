"""python-plugin from PyPI, another go-plugin in Python, as partner in both roles."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE

from injector.backends.goplugin.wiring import Wiring
from injector.model.policy import AutoMtls
from injector.model.references import Reference, Value

# Looked for and not imported: grpclib registers a health service of its own, beside ours in the same process.
PEER = importlib.util.find_spec("pyplugin")
assert PEER is not None
assert PEER.origin is not None

PREAMBLE = f"""#!{sys.executable}
import asyncio, json, sys
sys.path.insert(0, {str(Path(PEER.origin).parents[1])!r})
import grpclib.client, grpclib.const
from pyplugin import Client, ClientConfig, HandshakeConfig, Plugin, ServeConfig, serve
from injector._proto.tokenstore.v1.token_store_pb2 import TokenValueRequest, TokenValueResponse

COOKIE = dict(magic_cookie_key="CONFIGMANAGER_PLUGIN", magic_cookie_value="configmanager-plugin-hello")
PATH, TYPES = "/proto.TokenStore/Value", (TokenValueRequest, TokenValueResponse)

class Servicer:
    async def value(self, stream):
        request = await stream.recv_message()
        await stream.send_message(TokenValueResponse(value=request.token + "->" + request.metadata.decode()))

    def __mapping__(self):
        return {{PATH: grpclib.const.Handler(self.value, grpclib.const.Cardinality.UNARY_UNARY, *TYPES)}}

class Store(Plugin):
    def servicers(self, broker):
        return [Servicer()]

    def stub(self, broker, channel):
        return grpclib.client.UnaryUnaryMethod(channel, PATH, *TYPES)

shake, plugins = HandshakeConfig(protocol_version=1, **COOKIE), {{"configmanager_token_store": Store()}}
"""
THEIR_PLUGIN = PREAMBLE + "serve(ServeConfig(handshake_config=shake, plugins=plugins))\n"
THEIR_HOST = (
    PREAMBLE
    + """
async def main():
    config = ClientConfig(handshake_config=shake, plugins=plugins, cmd=[sys.argv[1]], auto_mtls=sys.argv[2] == "mtls")
    async with Client(config) as client:
        method = client.dispense("configmanager_token_store")
        calls = [method(TokenValueRequest(token=f"/n/{n}", metadata=b"k=v")) for n in range(50)]
        print(json.dumps([answer.value for answer in await asyncio.gather(*calls)]))

asyncio.run(main())
"""
)
OUR_PLUGIN = """
from injector.sdk.serving import serve
from injector.sdk.store import LookupStore

class Store(LookupStore):
    def look_up(self, reference):
        return f"{reference.path}->{reference.raw_metadata}"

serve(Store(), name="peer")
"""


@pytest.mark.parametrize("auto_mtls", [AutoMtls.OFF, AutoMtls.REQUIRE])
async def test_their_plugin_under_our_host(start_backend, install, tmp_path, auto_mtls) -> None:
    # It leaves its key and certificates as files in TMPDIR: a directory of its own, which nobody has to find empty.
    candidate = install("peer", THEIR_PLUGIN)
    options = {"TMPDIR": str(tmp_path), "wiring": Wiring(auto_mtls=auto_mtls, socket_directory=Path("/tmp"))}
    backend = await start_backend(candidate, **options)
    references = [Reference("PEER", f"/n/{number}", "k=v") for number in range(50)]
    outcomes = [outcome async for _, outcome in backend.fetch(references, timeout=PATIENCE)]
    values = [outcome.data.reveal().decode() for outcome in outcomes if isinstance(outcome, Value)]
    assert values == [f"/n/{number}->k=v" for number in range(50)]


@pytest.mark.parametrize("kind", ["plain", "mtls"])
def test_our_plugin_under_their_host(python_plugin, tmp_path, kind) -> None:
    host = tmp_path / "host.py"
    host.write_text(THEIR_HOST)
    plugin = python_plugin(source=OUR_PLUGIN)
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, host, plugin, kind], check=False, capture_output=True, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout.splitlines()[-1]) == [f"/n/{number}->k=v" for number in range(50)]
