"""The contract of a plugin, held by every plugin of this repository."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from waiting import PATIENCE

from injector.sdk.building.build import build
from injector.sdk.scaffold.new import new_project, project_files
from injector.sdk.testing import PluginContract as Contract

if TYPE_CHECKING:
    from collections.abc import Callable


class PluginContract(Contract):
    """The contract on a machine that is loaded many times over."""

    start_within = PATIENCE
    ends_within = PATIENCE


SIMPLE = """
import os, pathlib, time
from injector.sdk import Answer, Description, Lease, LookupStore, NotFound, serve

VALUES = {"/a": "value of a", "/größe": "größe 値 🔑\\nline two", "/loud": "said aloud", "/empty": ""}
FOLDER = pathlib.Path(os.environ["SIMPLE_FOLDER"])

def changes():
    file = FOLDER / "changed"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

class Simple(LookupStore):
    def describe(self):
        return Description(prefixes=("SIMPLE",), largest_batch=3, most_in_flight=4)

    def look_up(self, reference):
        if reference.path == "/echo":
            return reference.raw_metadata
        if reference.path == "/binary":
            return bytes(range(256))
        if reference.path.startswith("/leased/"):
            return Answer("lent", lease=Lease("lease-" + reference.path[8:], 60, True))
        if reference.path == "/loud":
            print("x" * 10_000)
            os.system("echo from a child")
        try:
            return VALUES[reference.path] + "!" * changes().count(reference.path)
        except KeyError:
            raise NotFound("no such path") from None

    def watch(self, references):
        by_path = {reference.path: reference for reference in references}
        seen = len(changes())
        while True:
            time.sleep(0.05)
            now = changes()
            yield from (by_path.get(path) for path in now[seen:])
            seen = len(now)
            yield None

    def release(self, leases):
        for lease in leases:
            (FOLDER / lease).touch()

serve(Simple(), name="simple")
"""
ECHOED = " k = v ,n=ü=1,,[] "


class TestSimpleStore(PluginContract):
    known = {
        "/a": "value of a",
        "/größe": "größe 値 🔑\nline two",
        "/loud": "said aloud",
        "/empty": "",
        "/leased/1": "lent",
        "/leased/2": "lent",
    }
    known_with_metadata = {("/echo", ECHOED): ECHOED, ("/echo", ""): ""}
    known_bytes = {"/binary": bytes(range(256))}
    prefix = "SIMPLE"
    missing = "/nope"
    noisy = "/loud"

    @pytest.fixture
    def plugin_command(self, python_plugin: Callable[..., Path]) -> list[str]:
        return [str(python_plugin(source=SIMPLE))]

    @pytest.fixture
    def plugin_environment(self, tmp_path: Path) -> dict[str, str]:
        return {"SIMPLE_FOLDER": str(tmp_path)}

    @pytest.fixture
    def change(self, tmp_path: Path) -> Callable[[str], None]:
        def change(path: str) -> None:
            with (tmp_path / "changed").open("a", encoding="utf-8") as file:
                file.write(f"{path}\n")

        return change

    @pytest.fixture
    def is_released(self, tmp_path: Path) -> Callable[[str], bool]:
        return lambda lease: (tmp_path / lease).exists()


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


class TestBuiltPlugin(TestSimpleStore):
    """What `injector plugin build` makes of a file."""

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


@pytest.mark.go
class TestGoWatchstore(PluginContract):
    """Protocol 2 in another language, with go-plugin's own server."""

    known = {"/a": "value of a", "/größe": "größe 値"}
    missing = "/nope"
    prefix = "WATCHSTORE"
    ends_with_its_host = False
    removes_its_socket_at_sigterm = False
    takes_large_requests = False

    @pytest.fixture
    def plugin_command(self, watchstore: Path) -> list[str]:
        return [str(watchstore)]

    @pytest.fixture
    def plugin_environment(self, tmp_path: Path) -> dict[str, str]:
        (tmp_path / "values.json").write_text(json.dumps(self.known), encoding="utf-8")
        return {"WATCHSTORE_FILE": str(tmp_path / "values.json")}

    @pytest.fixture
    def change(self, tmp_path: Path) -> Callable[[str], None]:
        numbers = itertools.count()

        def change(path: str) -> None:
            changed = {**self.known, path: f"number {next(numbers)}"}
            (tmp_path / "new.json").write_text(json.dumps(changed), encoding="utf-8")
            (tmp_path / "new.json").rename(tmp_path / "values.json")

        return change
