"""A sidecar whose values come from a plugin that does what files beside it say."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from injector.backends.executables import this_platform
from tools.ui_in_browser import PATIENCE, Program

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = f"""#!{sys.executable}
import os
from injector.sdk.errors import InvalidConfiguration, NotFound, Unavailable
from injector.sdk.serving import serve
from injector.sdk.store import Answer, Description, TokenStore

FOLDER = os.path.dirname(os.path.abspath(__file__))

class Demo(TokenStore):
    def describe(self):
        return Description(prefixes=("DEMO",), largest_batch=50)

    def configure(self, connection, settings):
        if settings.get("region") == "nowhere":
            raise InvalidConfiguration("there is no region `nowhere`", hint="take eu-west-1")

    def resolve(self, references):
        with open(os.path.join(FOLDER, "asked"), "a") as file:
            file.write("x")
        is_down = os.path.exists(os.path.join(FOLDER, "down"))
        for reference in references:
            if reference.path == "none":
                yield reference, NotFound("there is no value")
            elif is_down:
                yield reference, Unavailable("the demo store is down")
            else:
                yield reference, Answer("value-of-" + reference.path, version="7")

serve(Demo())
"""


def install_plugin(here: Path) -> Path:
    """Puts the plugin below *here*; gives its folder: `asked` has a letter for each call, `down` makes it fail."""
    folder = here / "plugins" / "demo"
    folder.mkdir(parents=True)
    program = folder / f"demo-{this_platform().file_suffix}"
    program.write_text(PLUGIN)
    program.chmod(0o755)
    return folder


class Sidecar(Program):
    """`injector run` over the directory `templates`, whose control socket is there."""

    def __init__(self, here: Path, *arguments: str, within: float = PATIENCE, **environment: str) -> None:
        self.here = here
        self.control = here / "control"
        run = ("run", "templates", "--output-dir", "out", "--control", "control", "--refresh", "1h")
        super().__init__("run", here, *run, *arguments, INJECTOR_LOG_FORMAT="json", **environment)
        self.waits_for("the first pass", lambda: self.logged("started"), within=within)

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The entries of this event in its log."""
        lines = [line for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]


def write(path: Path, text: str) -> Path:
    """Replaces a file at once, as editors do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{os.getpid()}.new")
    new.write_text(text, encoding="utf-8")
    new.rename(path)
    return path
