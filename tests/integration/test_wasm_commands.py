"""WASM plugins by the command: found, locked, verified, installed, compiled ahead, called, rendered."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from wasm_modules import ECHO, lookup, reactor

if TYPE_CHECKING:
    from collections.abc import Callable

INJECTOR = Path(sys.executable).with_name("injector")
KNOWN = {"/app/db": "pass-word-1", "/app/user": "me"}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A directory with the plugin `demo` on its default plugin path, and a template for it."""
    folder = tmp_path / ".configmanager" / "plugins" / "demo"
    folder.mkdir(parents=True)
    (folder / "demo.wasm").write_bytes(lookup(KNOWN))
    (folder / "demo.wasm").chmod(0o644)
    (tmp_path / "template").write_text("db=DEMO:///app/db user=DEMO:///app/user\n")
    return tmp_path


@pytest.fixture
def run(work: Path) -> Callable[..., Any]:
    """`run("render", "template", INJECTOR_X="y")`: the command in that directory, with a cache of its own."""

    def call(*arguments: str, **environment: str) -> Any:
        base = {"PATH": os.environ["PATH"], "HOME": str(work), "XDG_CACHE_HOME": str(work / "cache")}
        return subprocess.run(
            [INJECTOR, *arguments],
            cwd=work,
            env=base | environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=110,
        )

    return call


def module(work: Path) -> Path:
    return work / ".configmanager" / "plugins" / "demo" / "demo.wasm"


def test_a_template_is_rendered_by_a_wasm_plugin(run: Any) -> None:
    done = run("render", "template")
    assert (done.returncode, done.stdout, done.stderr) == (0, "db=pass-word-1 user=me\n", "")


def test_a_value_that_the_plugin_does_not_have_is_missing(run: Any, work: Path) -> None:
    (work / "template").write_text("a=DEMO:///nope b=DEMO:///app/user")
    done = run("render", "template")
    assert done.returncode == 4
    assert "there is no /nope [value-not-found]" in done.stderr
    assert run("render", "template", "--on-missing", "empty").stdout == "a= b=me"


@pytest.mark.fault(25, "an empty answer is an error, unless the token may be empty")
def test_an_empty_value_is_an_error_unless_the_token_is_optional(run: Any, work: Path) -> None:
    module(work).write_bytes(reactor("(i32.store (local.get $lenp) (i32.const 0)) (return (i32.const 0))"))
    (work / "template").write_text("a=DEMO://x")
    done = run("render", "template")
    assert done.returncode == 4
    assert "gave an empty value for DEMO x [value-empty]" in done.stderr
    (work / "template").write_text("a=DEMO://x[optional=true] b=DEMO://x[default=none]")
    assert run("render", "template").stdout == "a= b=none"


def test_a_plugin_that_fails_costs_its_own_tokens(run: Any, work: Path) -> None:
    module(work).write_bytes(reactor("(unreachable)"))
    (work / "template").write_text("a=DEMO://x b=ENV://HOME")
    done = run("render", "template")
    assert done.returncode == 7
    assert done.stderr.count("error") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.seed("000:67", "000:70")
def test_settings_reach_the_plugin(run: Any, work: Path) -> None:
    configure = """
      (global $at (mut i32) (i32.const 0)) (global $size (mut i32) (i32.const 0))
      (func (export "plugin_configure") (param $p i32) (param $n i32) (result i32)
        (global.set $at (local.get $p)) (global.set $size (local.get $n)) (i32.const 0))"""
    give = (
        "(return (call $give (global.get $at) (global.get $size) (local.get $out) (local.get $cap) (local.get $lenp)))"
    )
    module(work).write_bytes(reactor(give, extra=configure))
    (work / "settings.yaml").write_text(
        "apiVersion: config-injector.io/v1alpha1\nkind: Injector\n"
        "plugins: {configuration: {demo: {base_url: 'https://x', retries: 3}}}\n"
    )
    done = run("plugin", "call", "demo", "x", "--config", "settings.yaml")
    assert json.loads(done.stdout) == {"base_url": "https://x", "retries": 3}


def test_the_list_has_the_module_and_nothing_is_compiled_for_it(run: Any, work: Path) -> None:
    listed = json.loads(run("plugin", "list", "--format", "json").stdout)["plugins"]
    (demo,) = [plugin for plugin in listed if plugin["prefix"] == "DEMO" and plugin["state"] == "used"]
    assert (demo["kind"], demo["state"], demo["location"]) == ("wasm", "used", str(module(work)))
    assert not (work / "cache").exists()


def test_a_module_is_held_to_the_lock_file(run: Any, work: Path) -> None:
    assert run("plugin", "lock").returncode == 0
    assert run("plugin", "verify").returncode == 0
    assert run("render", "template").returncode == 0
    module(work).write_bytes(lookup(KNOWN | {"/more": "x"}))
    done = run("render", "template")
    assert done.returncode == 7
    assert "is not the expected one" in done.stderr
    assert run("plugin", "verify").returncode == 7
    assert "is not the expected one" in run("plugin", "precompile").stderr


def test_a_module_that_is_not_locked_is_not_run(run: Any, work: Path) -> None:
    assert run("plugin", "lock").returncode == 0
    other = work / ".configmanager" / "plugins" / "other"
    other.mkdir()
    (other / "other.wasm").write_bytes(lookup({}))
    assert "plugin-not-locked" in run("plugin", "call", "other", "x").stderr


def test_a_module_is_installed_with_its_checksum(run: Any, work: Path) -> None:
    data = lookup({"x": "y"})
    (work / "fresh.wasm").write_bytes(data)
    done = run("plugin", "install", "fresh.wasm", "--sha256", hashlib.sha256(data).hexdigest())
    assert done.returncode == 0, done.stderr
    assert run("plugin", "call", "fresh", "x").stdout == "y"


def test_a_module_is_compiled_ahead_for_a_read_only_home(run: Any, work: Path) -> None:
    done = run("plugin", "precompile", "--wasm-cache", "image/wasm", "--format", "json")
    (plugin,) = json.loads(done.stdout)["plugins"]
    assert plugin["compiled"] is True
    assert (plugin["name"], plugin["location"]) == ("demo", str(module(work)))
    assert Path(plugin["file"]).parent == work / "image" / "wasm"
    again = run("plugin", "precompile", "demo", "--wasm-cache", "image/wasm")
    assert "was compiled before" in again.stdout
    done = run("render", "template", "-v", INJECTOR_PLUGIN_WASM_CACHE="image/wasm")
    assert done.returncode == 0
    assert "compiled a WASM plugin" not in done.stderr


def test_without_a_place_for_compiled_modules_a_warning_says_what_to_do(run: Any) -> None:
    done = run("render", "template", HOME="", XDG_CACHE_HOME="")
    assert done.stdout == "db=pass-word-1 user=me\n"
    assert "injector plugin precompile" in done.stderr


def test_compiling_what_is_no_module_is_an_error(run: Any, work: Path) -> None:
    assert "is no WASM module, and needs no compiling" in run("plugin", "precompile", "awsparamstr").stderr
    assert "plugin nope is not installed" in run("plugin", "precompile", "nope").stderr


def test_an_exported_function_is_called_with_json(run: Any, work: Path) -> None:
    export = """(func (export "list_markets")
      (param $in i32) (param $n i32) (param $out i32) (param $cap i32) (param $lenp i32) (result i32) """
    module(work).write_bytes(reactor(extra=export + ECHO + "(unreachable))"))
    assert run("plugin", "call", "demo", "list_markets", "--input", '{"limit": 5}').stdout == '{"limit": 5}'
    as_json = json.loads(run("plugin", "call", "demo", "list_markets", "--input", "[1]", "--format", "json").stdout)
    seconds = as_json.pop("seconds")
    assert seconds >= 0
    assert as_json == {
        "schemaVersion": 1,
        "prefix": "DEMO",
        "export": "list_markets",
        "backend": f"plugin demo ({module(work)})",
        "output": "[1]",
        "encoding": "utf-8",
    }
    assert run("plugin", "call", "demo", "list_markets", "--input", "{").returncode == 2
    assert run("plugin", "call", "demo", "nope", "--input", "{}").returncode == 7
    assert "is no WASM module" in run("plugin", "call", "env", "x", "--input", "{}").stderr


def test_without_wasmtime_the_error_says_what_to_install(run: Any, work: Path) -> None:
    (work / "hidden").mkdir()
    (work / "hidden" / "wasmtime.py").write_text("raise ImportError('not here')")
    done = run("render", "template", PYTHONPATH=str(work / "hidden"))
    assert done.returncode == 7
    assert "pip install 'kube-config-injector[wasm]'" in done.stderr
    assert run("plugin", "list", PYTHONPATH=str(work / "hidden")).returncode == 0


def test_wasmtime_is_imported_for_wasm_plugins_only(work: Path) -> None:
    script = (
        "import os, sys; os.environ['DEMO_VALUE'] = 'x'\n"
        "from injector.cli.main import main\n"
        "assert main(['render', sys.argv[1]]) == 0\n"
        "print('wasmtime' in sys.modules, 'grpc' in sys.modules, file=sys.stderr)\n"
    )
    (work / "plain").write_text("a=ENV://DEMO_VALUE")
    found = []
    for template in ("plain", "template"):
        command = [sys.executable, "-P", "-c", script, template]
        environment = {"PATH": os.environ["PATH"], "HOME": str(work)}
        done = subprocess.run(
            command, cwd=work, env=environment, check=True, capture_output=True, text=True, timeout=110
        )
        found.append(done.stderr.splitlines()[-1])
    assert found == ["False False", "True False"]
