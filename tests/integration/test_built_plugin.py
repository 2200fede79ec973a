"""What `injector plugin build` makes: under HashiCorp's host, under ours, by hand, on a Python that lacks something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fixtures_processes import ended_by_itself

from injector.cli.main import main
from injector.sdk.building.build import archive, build
from injector.sdk.handshake import go_platform
from injector.sdk.testing import FakeHost

PACKAGE = {
    "__init__.py": "",
    "__main__.py": """
from injector.sdk import serve
from shop.store import Shop
serve(Shop(), name="shop", version="1.2")
""",
    "names.txt": "a data file\n",
    "store.py": """
import importlib.resources
import injector
from injector.sdk import LookupStore, NotFound

class Shop(LookupStore):
    def look_up(self, reference):
        if reference.path == "/where":
            return injector.__file__
        if reference.path == "/data":
            return importlib.resources.files("shop").joinpath("names.txt").read_text()
        if reference.path == "/compiled":
            return Shop.look_up.__code__.co_filename
        if reference.path != "/app/größe":
            raise NotFound("none")
        return f"the value[{reference.raw_metadata}]"
""",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, text in PACKAGE.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def plugin(package: Path, tmp_path: Path) -> Path:
    """On a plugin path, run by the interpreter of these tests."""
    path = tmp_path / "plugins" / "shop" / f"shop-{go_platform()}"
    path.parent.mkdir(parents=True)
    return build(package, output=path, python=sys.executable).path


@pytest.mark.go
def test_it_runs_under_hashicorps_host(go_host, plugin, socket_directory):
    command = [go_host, "-token", "/app/größe", "-metadata", "k=v", "-n", "200", "-c", "16", plugin]
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(socket_directory)}

    def run() -> dict[str, Any]:
        done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
        return json.loads(done.stdout)

    report = ended_by_itself(run, socket_directory)
    assert report["error"] == ""
    assert {call["value"] for call in report["calls"]} == {"the value[k=v]"}
    assert len(report["calls"]) == 200
    assert list(socket_directory.iterdir()) == []


def test_it_runs_under_our_host(plugin, tmp_path, monkeypatch, capsysbinary):
    monkeypatch.chdir(tmp_path)
    arguments = ["plugin", "call", "shop", "/app/größe", "--plugin-path", "plugins", "--metadata", "k=v"]
    assert main(arguments) == 0
    assert capsysbinary.readouterr().out == b"the value[k=v]"
    (tmp_path / "template").write_text("a={{ SHOP:///app/größe[k=v] }}\n", encoding="utf-8")
    assert main(["render", "template", "--plugin-path", "plugins"]) == 0
    assert capsysbinary.readouterr().out == b"a=the value[k=v]\n"


def test_everything_but_grpc_and_protobuf_comes_out_of_the_file(plugin):
    with FakeHost([plugin]) as host:
        assert host.value("/where") == f"{plugin}/injector/__init__.pyc"
        assert host.value("/data") == "a data file\n"
        assert host.value("/compiled") == "shop/store.py"


def test_without_bytecode_of_its_version_it_runs_from_its_sources(plugin):
    with zipfile.ZipFile(plugin) as held:
        files = {name: held.read(name) for name in held.namelist()}
    # The first four bytes are the version's magic number.
    other = {name: b"\0\0\r\n" + data[4:] if name.endswith(".pyc") else data for name, data in files.items()}
    plugin.write_bytes(archive(other, first_line=f"#!{sys.executable}\n".encode()))
    with FakeHost([plugin]) as host:
        assert host.value("/where") == f"{plugin}/injector/__init__.py"
        assert host.value("/app/größe") == "the value[]"


def test_run_by_hand_it_says_what_it_is(plugin):
    done = subprocess.run([plugin], env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "shop is a plugin of injector and configmanager" in done.stderr
    assert f".configmanager/plugins/<prefix>/<prefix>-{go_platform()}" in done.stderr
    assert subprocess.run([plugin, "--version"], env={}, capture_output=True, check=True).stdout == b"shop 1.2\n"


def test_a_python_without_grpc_is_told_what_to_install(package, tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / "bin" / "python"
    plugin = build(package, output=tmp_path / "plugin", python=str(python)).path
    for cookie in ({}, {"CONFIGMANAGER_PLUGIN": "configmanager-plugin-hello"}):
        done = subprocess.run([plugin], env=cookie, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{plugin} is a plugin of injector and configmanager, and cannot start" in done.stderr
        assert f"{python} has no grpcio and no protobuf" in done.stderr
        assert f"{python} -m pip install grpcio 'protobuf>=" in done.stderr


def test_a_python_with_an_old_protobuf_is_told_its_version(package, tmp_path, monkeypatch):
    plugin = build(package, output=tmp_path / "plugin", python=sys.executable).path
    old = tmp_path / "old" / "google" / "protobuf"
    old.mkdir(parents=True)
    (old.parent / "__init__.py").touch()
    (old / "__init__.py").write_text("__version__ = '4.25.1'\n")
    done = subprocess.run(
        [plugin], env={"PYTHONPATH": str(tmp_path / "old")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "or newer (there is 4.25.1)" in done.stderr


def test_the_command_tells_where_the_file_belongs(package, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = f"shop-{go_platform()}"
    assert main(["plugin", "build", "shop"]) == 0
    told = capsys.readouterr()
    assert told.out == f"{name}\n"
    assert f"cp {name} .configmanager/plugins/shop/{name}" in told.err
    assert "/usr/bin/env python3 must have: grpcio, protobuf>=" in told.err
    assert main(["plugin", "build", "shop", "--format", "json", "-o", "other", "--name", "boutique"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["file"], report["prefix"], report["schemaVersion"]) == ("other", "boutique", 1)
    assert report["bytes"] == (tmp_path / "other").stat().st_size


def test_contradictions_and_missing_sources_have_their_exit_codes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.txt").touch()
    assert main(["plugin", "build", ".", "--no-deps", "--requirement", "r.txt"]) == 2
    assert main(["plugin", "build", "."]) == 3
    assert "plugin-source-invalid" in capsys.readouterr().err


def test_a_first_party_plugin_can_be_built(tmp_path):
    source = Path(__file__).parents[2] / "plugins" / "awsparamstr" / "injector_awsparamstr"
    built = build(source, output=tmp_path / "aws", python=sys.executable)
    assert built.prefix == "awsparamstr"
    with FakeHost([built.path]) as host:
        assert host.health() == "SERVING"
