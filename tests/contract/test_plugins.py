"""The contract of a plugin, held by every plugin of this repository."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from injector.sdk.building.build import build
from injector.sdk.scaffold.new import new_project, project_files
from injector.sdk.testing import PluginContract

if TYPE_CHECKING:
    from collections.abc import Callable

SIMPLE = """
import os
from injector.sdk import Description, LookupStore, NotFound, serve

VALUES = {"/a": "value of a", "/größe": "größe 値 🔑\\nline two", "/loud": "said aloud", "/empty": ""}

class Simple(LookupStore):
    def describe(self):
        return Description(prefixes=("SIMPLE",), largest_batch=3, most_in_flight=4)

    def look_up(self, reference):
        if reference.path == "/echo":
            return reference.raw_metadata
        if reference.path == "/binary":
            return bytes(range(256))
        if reference.path == "/loud":
            print("x" * 10_000)
            os.system("echo from a child")
        try:
            return VALUES[reference.path]
        except KeyError:
            raise NotFound("no such path") from None

serve(Simple(), name="simple")
"""
ECHOED = " k = v ,n=ü=1,,[] "


class TestSimpleStore(PluginContract):
    known = {
        "/a": "value of a",
        "/größe": "größe 値 🔑\nline two",
        "/loud": "said aloud",
        "/empty": "",
    }
    known_with_metadata = {("/echo", ECHOED): ECHOED, ("/echo", ""): ""}
    known_bytes = {"/binary": bytes(range(256))}
    prefix = "SIMPLE"
    missing = "/nope"
    noisy = "/loud"

    @pytest.fixture
    def plugin_command(self, python_plugin: Callable[..., Path]) -> list[str]:
        return [str(python_plugin(source=SIMPLE))]


class TestAwsParameterStore(PluginContract):
    command = [sys.executable, "-m", "injector_awsparamstr"]
    known = {"/app/db": '{"password":"größe"}', "plain": "a plain value", "/app/v": "version two"}
    known_with_metadata = {("/app/v", "version=1"): "version one", ("/app/v", "version=2"): "version two"}
    missing = "/app/none"
    prefix = "AWSPARAMSTR"

    @pytest.fixture
    def plugin_environment(self, ssm: Any, moto_server: str) -> dict[str, str]:
        ssm.put_parameter(Name="/app/v", Value="version one", Type="String")
        for name, value in self.known.items():
            ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
        return {
            "AWS_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL": moto_server,
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": "test",
        }


class TestBuiltPlugin(PluginContract):
    """What `injector plugin build` makes of a file."""

    known = TestSimpleStore.known
    known_with_metadata = TestSimpleStore.known_with_metadata
    known_bytes = TestSimpleStore.known_bytes
    prefix = "SIMPLE"
    missing = "/nope"
    noisy = "/loud"

    @pytest.fixture
    def plugin_command(self, tmp_path: Path) -> list[str]:
        source = tmp_path / "simple.py"
        source.write_text(SIMPLE, encoding="utf-8")
        return [str(build(source, output=tmp_path / "built", python=sys.executable).path)]


class TestNewPlugin(PluginContract):
    """What `injector plugin new` writes, without having been installed."""

    known = json.loads(project_files("shop")["tests/values.json"])
    known_with_metadata = {("/app/db", "part=first"): "the first line"}
    missing = "/nope"

    @pytest.fixture
    def plugin_command(self, tmp_path: Path) -> list[str]:
        new_project("shop", tmp_path / "shop")
        return [sys.executable, "-m", "injector_shop"]

    @pytest.fixture
    def plugin_environment(self, tmp_path: Path) -> dict[str, str]:
        project = tmp_path / "shop"
        return {"PYTHONPATH": str(project), "SHOP_FILE": str(project / "tests" / "values.json")}


@pytest.mark.go
class TestGoDemostore(PluginContract):
    known = {"/a": "value of a", "/größe": "größe 値"}
    missing = "/nope"
    ends_with_its_host = False
    removes_its_socket_at_sigterm = False
    takes_large_requests = False

    @pytest.fixture
    def plugin_command(self, demostore: Path) -> list[str]:
        return [str(demostore)]

    @pytest.fixture
    def plugin_environment(self, tmp_path: Path) -> dict[str, str]:
        file = tmp_path / "values.json"
        file.write_text(json.dumps(self.known), encoding="utf-8")
        return {"DEMOSTORE_FILE": str(file)}
