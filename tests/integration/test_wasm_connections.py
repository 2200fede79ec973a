"""Tokens of several connections through one WASM plugin: each instance has the credentials of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from wasm_modules import data, reactor

INJECTOR = Path(sys.executable).with_name("injector")
SETTINGS = """\
apiVersion: config-injector.io/v1alpha1
kind: Injector
plugins:
  configuration:
    demo: {key: own}
"""
REMEMBER = """
  (global $at (mut i32) (i32.const 0)) (global $size (mut i32) (i32.const 0))
  (func (export "plugin_configure") (param $p i32) (param $n i32) (result i32)
    (global.set $at (local.get $p)) (global.set $size (local.get $n)) (i32.const 0))"""
TELL = "(return (call $give (global.get $at) (global.get $size) (local.get $out) (local.get $cap) (local.get $lenp)))"


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """The command beside a plugin `demo` whose every value is what it was configured with."""
    folder = tmp_path / ".configmanager" / "plugins" / "demo"
    folder.mkdir(parents=True)
    (folder / "demo.wasm").write_bytes(reactor(TELL, extra=REMEMBER))
    (folder / "demo.wasm").chmod(0o644)
    settings = (
        "apiVersion: config-injector.io/v1alpha1\nkind: Injector\nplugins:\n  configuration:\n    demo: {key: own}\n"
    )
    (tmp_path / "settings.yaml").write_text(settings)

    def call(*arguments: str, text: str = "") -> Any:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "INJECTOR_CONFIG": "settings.yaml"}
        return subprocess.run(
            [INJECTOR, *arguments],
            cwd=tmp_path,
            env=environment,
            input=text,
            check=False,
            capture_output=True,
            text=True,
            timeout=110,
        )

    return call


@pytest.mark.seed("000:94", "000:98", "000:171")
def test_each_connection_has_its_own_credentials_and_nobody_else_s(run: Any, tmp_path: Path) -> None:
    for name in ("prod", "dev"):
        (tmp_path / "key").write_text(f"canary-{name}")
        added = run("connection", "add", name, "--prefix", "DEMO", "--secret-file", "key=key")
        assert added.returncode == 0, added.stderr
    (tmp_path / "t").write_text("DEMO:///x[connection=prod]\nDEMO:///x\nDEMO:///x[connection=dev]\n")
    done = run("render", "t")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["key"] for line in done.stdout.splitlines()] == ["canary-prod", "own", "canary-dev"]


@pytest.mark.seed("000:94")
def test_a_connection_is_given_to_an_instance_to_find_out_whether_it_takes_it(run: Any, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("canary-prod")
    assert run("connection", "add", "prod", "--prefix", "DEMO", "--secret-file", "key=key").returncode == 0
    done = run("connection", "test", "prod", "--token", "/x")
    assert done.returncode == 0, done.stderr
    assert "plugin demo (" in done.stderr
    assert "took the connection prod\n" in done.stderr
    assert f"and answered /x with {len(json.dumps({'key': 'canary-prod'}))} bytes" in done.stderr


REFUSES = b"the key canary-prod is of another account"


@pytest.mark.parametrize(
    ("configure", "said", "code"),
    [
        ("(i32.const -5)", "does not take its settings (connection `prod`): the key *** is of another account", 3),
        ("(unreachable)", "gave up: a panic, or no memory left", 7),
        ("(loop $for_ever (br $for_ever)) (i32.const 0)", "was not done within 1 s", 5),
    ],
)
def test_a_connection_that_is_not_taken_says_why_in_the_plugins_words_and_by_its_name(
    run: Any, tmp_path: Path, configure: str, said: str, code: int
) -> None:
    exports = f"""
  {data(64, REFUSES)}
  (func (export "plugin_configure") (param $p i32) (param $n i32) (result i32) {configure})
  (func (export "last_error") (param $to i32) (param $cap i32) (result i32)
    (memory.copy (local.get $to) (i32.const 64) (i32.const {len(REFUSES)})) (i32.const {len(REFUSES)}))"""
    module = tmp_path / ".configmanager" / "plugins" / "demo" / "demo.wasm"
    module.write_bytes(reactor(extra=exports))
    (tmp_path / "key").write_text("canary-prod")
    (tmp_path / "settings.yaml").write_text(SETTINGS + "  callTimeout: 1s\n")
    assert run("connection", "add", "prod", "--prefix", "DEMO", "--secret-file", "key=key").returncode == 0
    done = run("connection", "test", "prod")
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "canary" not in done.stderr


def test_a_connection_for_a_module_that_takes_none_is_refused_by_name(run: Any, tmp_path: Path) -> None:
    (tmp_path / ".configmanager" / "plugins" / "demo" / "demo.wasm").write_bytes(reactor())
    assert run("connection", "add", "prod", "--prefix", "DEMO", "--set", "zone=a").returncode == 0
    done = run("connection", "test", "prod")
    assert done.returncode == 3
    assert "was given settings (connection `prod`) and has no plugin_configure to take them" in done.stderr


def test_a_connection_that_is_not_there_is_no_reason_to_take_other_credentials(run: Any, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("DEMO:///x[connection=prod]\n")
    done = run("render", "t")
    assert done.returncode == 3
    assert (done.stdout, "prod" in done.stderr) == ("", True)
