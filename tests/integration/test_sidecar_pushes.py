"""A sidecar over plugins of protocol 2: what a plugin pushes is there at once, and leases are kept and given back."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sidecar_running import content, running, state
from waiting import until

from injector.app.status import FileState
from injector.settings.schema import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "plugins" / "go"

PLUGIN = f"""#!{sys.executable}
import json, os, time
from injector.sdk.errors import NotFound
from injector.sdk.serving import serve
from injector.sdk.store import Answer, Description, Lease, TokenStore

FOLDER = os.path.dirname(os.path.abspath(__file__))

def note(name, what):
    with open(os.path.join(FOLDER, name), "a") as file:
        file.write(json.dumps(what) + "\\n")

def values():
    with open(os.path.join(FOLDER, "values.json")) as file:
        return json.load(file)

class Store(TokenStore):
    leases = 0

    def describe(self):
        return Description(prefixes=("DEMO",), largest_batch=50)

    def resolve(self, references):
        note("asked", sorted(reference.path for reference in references))
        for reference in references:
            found = values().get(reference.path)
            if found is None:
                yield reference, NotFound("nothing there")
            elif isinstance(found, dict):
                Store.leases += 1
                lease = Lease(reference.path + "#" + str(Store.leases), found["lease"], False)
                yield reference, Answer(str(Store.leases), lease=lease)
            else:
                yield reference, found

    def watch(self, references):
        before = values()
        note("watched", sorted(reference.path for reference in references))
        while True:
            after = values()
            for reference in references:
                if before.get(reference.path) != after.get(reference.path):
                    yield reference
            before = after
            yield None
            time.sleep(0.05)

    def release(self, leases):
        note("released", sorted(leases))

serve(Store(), name="demo", version="1.0.0")
"""


class Demo:
    """The plugin's folder: what it answers, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def answer(self, **values: object) -> None:
        new = self._folder / "values.new"
        new.write_text(json.dumps({f"/{name}": value for name, value in values.items()}))
        new.rename(self._folder / "values.json")

    def notes(self, name: str) -> list[Any]:
        path = self._folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def demo(install: Callable[..., Any], tmp_path: Path) -> Demo:
    install("demo", PLUGIN)
    (tmp_path / "templates").mkdir()
    return Demo(tmp_path / "plugins" / "demo")


def settings(tmp_path: Path, **changes: Any) -> Settings:
    defaults: dict[str, Any] = {"refresh": 3600.0, "rescan": 600.0, "plugin_path": (tmp_path / "plugins",)}
    return Settings(**defaults | changes)


ENVIRONMENT = {"PATH": os.environ["PATH"]}


async def test_what_a_plugin_pushes_is_written_without_waiting_for_the_refresh(demo: Demo, tmp_path: Path) -> None:
    demo.answer(x="one", y="stays")
    (tmp_path / "templates" / "f").write_text("DEMO:///x DEMO:///y\n")
    (tmp_path / "templates" / "g").write_text("DEMO:///y\n")
    inputs, out = (tmp_path / "templates",), tmp_path / "out"
    async with running(inputs, out, settings(tmp_path), environment=ENVIRONMENT) as run:
        await until(lambda: state(run, "f") is FileState.READY and demo.notes("watched"))
        demo.answer(x="two", y="stays")
        await until(lambda: content(out / "f") == "two stays\n")
        assert demo.notes("asked") == [["/x", "/y"], ["/x"]]
        assert (run.published["f"], run.published["g"]) == (2, 1)
        # A template that comes later is watched as well.
        (tmp_path / "templates" / "h").write_text("DEMO:///z\n")
        demo.answer(x="two", y="stays", z="three")
        await until(lambda: content(out / "h") == "three\n" and ["/x", "/y", "/z"] in demo.notes("watched"))
        demo.answer(x="two", y="stays", z="four")
        await until(lambda: content(out / "h") == "four\n")


async def test_a_lease_is_renewed_in_time_and_given_back_when_nothing_uses_it(demo: Demo, tmp_path: Path) -> None:
    demo.answer(short={"lease": 3.0}, long={"lease": 3600.0}, kept={"lease": 3600.0}, plain="p")
    template = tmp_path / "templates" / "f"
    (tmp_path / "templates" / "g").write_text("DEMO:///kept\n")
    template.write_text("DEMO:///short DEMO:///long\n")
    inputs, out = (tmp_path / "templates",), tmp_path / "out"
    began = asyncio.get_running_loop().time()
    async with running(inputs, out, settings(tmp_path), environment=ENVIRONMENT) as run:
        await until(lambda: len([call for call in demo.notes("asked") if "/short" in call]) >= 4)
        # Three renewals after 1.8 s to 2 s each: never sooner than two thirds, less a tenth.
        assert asyncio.get_running_loop().time() - began >= 3 * 1.8
        assert [call for call in demo.notes("asked") if "/long" in call] == [["/kept", "/long", "/short"]]
        assert demo.notes("released") == []  # what was replaced runs out by itself
        template.write_text("DEMO:///plain\n")
        await until(lambda: content(out / "f") == "p\n" and demo.notes("released"))
        (released,) = demo.notes("released")
        names = [lease.partition("#")[0] for lease in released]
        assert names == ["/long", "/short"]
        assert run.sidecar.errors() == ()
    assert [[lease.partition("#")[0] for lease in leases] for leases in demo.notes("released")[1:]] == [["/kept"]]


async def test_a_plugin_in_go_pushes_as_well(
    build_go: Callable[[Path, str], Path], install: Callable[..., Any], tmp_path: Path
) -> None:
    install("watchstore", build_go(EXAMPLES, "./cmd/watchstore"))
    values = tmp_path / "values.json"
    values.write_text('{"/x": "one"}')
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "f").write_text("WATCHSTORE:///x\n")
    out = tmp_path / "out"
    own = settings(tmp_path)
    own = settings(tmp_path, plugins=type(own.plugins)(pass_environment=("WATCHSTORE_*",)))
    environment = ENVIRONMENT | {"WATCHSTORE_FILE": str(values)}
    async with running((tmp_path / "templates",), out, own, environment=environment):
        await until(lambda: content(out / "f") == "one\n")
        number = 0
        while content(out / "f") == "one\n":  # nothing says when its watch has begun
            number += 1
            new = tmp_path / "values.new"
            new.write_text(f'{{"/x": "{number}"}}')
            new.rename(values)
            await asyncio.sleep(0.5)
        await until(lambda: content(out / "f") == f"{number}\n")
