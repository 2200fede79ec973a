"""The contract of a plugin, held by every plugin of this repository."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from injector.sdk.testing import PluginContract

if TYPE_CHECKING:
    from collections.abc import Callable

SIMPLE = """
import os
from injector.sdk import LookupStore, NotFound, serve

VALUES = {"/a": "value of a", "/größe": "größe 値 🔑\\nline two", "/loud": "said aloud", "/empty": ""}

class Simple(LookupStore):
    def look_up(self, reference):
        if reference.path == "/echo":
            return reference.raw_metadata
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
