"""A sidecar's status and metrics have the WASM plugins, too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from sidecar_running import content, running
from waiting import until
from wasm_modules import ECHO, reactor

from injector.app.serving import documents
from injector.backends.plugin_status import PluginState
from injector.connections.store import ConnectionStore
from injector.settings.schema import ConnectionSettings, Settings
from injector.telemetry.vitals import Vitals

if TYPE_CHECKING:
    from pathlib import Path

# A token that begins with z traps; the letter stands behind `{"token": "`. Settings that begin with `{"r` are refused.
PLUGIN = reactor(
    f"(if (i32.eq (i32.load8_u offset=11 (local.get $in)) (i32.const {ord('z')})) (then (unreachable))) {ECHO}",
    extra=f"""
  (func (export "plugin_configure") (param $p i32) (param $n i32) (result i32)
    (if (result i32) (i32.eq (i32.load8_u offset=2 (local.get $p)) (i32.const {ord("r")}))
      (then (i32.const -5)) (else (i32.const 0))))""",
)


async def test_a_wasm_plugin_is_one_line_of_the_status_with_its_crashes_whatever_its_connections(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "plugins" / "demo"
    folder.mkdir(parents=True)
    (folder / "demo.wasm").write_bytes(PLUGIN)
    store = ConnectionStore(tmp_path / "data" / "connections.db", tmp_path / "config" / "master.key")
    store.add("good", "DEMO", {"a": "b"}, {})
    store.add("bad", "DEMO", {"refuse": "me"}, {})
    connections = ConnectionSettings(store=store.path, master_key_file=store.key_file)
    settings = replace(Settings(), plugin_path=(tmp_path / "plugins",), connections=connections)
    settings = replace(settings, plugins=replace(settings.plugins, wasm_cache=tmp_path / "cache"))
    for name, tokens in {
        "a": "DEMO://a DEMO://a[connection=good]",
        "z": "DEMO://z",
        "r": "DEMO://r[connection=bad]",
    }.items():
        (tmp_path / name).write_text(tokens)
    inputs = tuple(tmp_path / name for name in "azr")
    async with running(inputs, tmp_path / "out", settings) as sidecar:
        await until(lambda: content(tmp_path / "out" / "a"))

        def plugin() -> Any:
            (one,) = sidecar.sidecar.status().plugins
            return one

        await until(lambda: plugin().crashes and plugin().failed_starts)
        status = plugin()
        assert status.name == f"plugin demo ({folder / 'demo.wasm'})"
        assert (status.state, status.starts) == (PluginState.RUNNING, 1)
        assert "gave up" in status.last_error or "does not take its settings" in status.last_error
        assert 0 < status.started_at <= status.lost_at
        document = json.loads(documents.status_json(sidecar.sidecar.status(), str))
        assert document["plugins"][0]["crashes"] == status.crashes
        (numbers,) = documents.metrics(sidecar.sidecar.status(), Vitals()).plugins
        assert (numbers.name, numbers.up, numbers.restarts) == (status.name, True, 0)
    (after,) = sidecar.sidecar.status().plugins
    assert after.state is PluginState.CLOSED
