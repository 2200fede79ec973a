"""A plugin is put where configmanager looks for it, and is found there by a render."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from injector.backends.executables import this_platform

pytestmark = pytest.mark.go


@pytest.mark.seed("002:16b", "002:18", "002:19", "002:22", "002:24")
def test_a_go_plugin_is_found_in_the_current_directory_and_then_in_the_home_directory(
    demostore: Path, tmp_path: Path
) -> None:
    plugins = {}
    for place in ("home", "here"):
        values = tmp_path / f"{place}.json"
        values.write_text(json.dumps({"a": f"of {place}"}))
        plugin = tmp_path / place / ".configmanager/plugins/awsparamstr" / f"awsparamstr-{this_platform().file_suffix}"
        plugin.parent.mkdir(parents=True)
        plugin.write_text(f"#!/bin/sh\nDEMOSTORE_FILE='{values}' exec '{demostore}'\n")
        plugin.chmod(0o755)
        plugins[place] = plugin

    def rendered() -> str:
        done = subprocess.run(
            [Path(sys.executable).with_name("injector"), "render", "-"],
            input="AWSPARAMSTR://a",
            cwd=tmp_path / "here",
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    if this_platform().file_suffix == "linux-amd64":
        assert plugins["here"].relative_to(tmp_path / "here") == Path(
            ".configmanager/plugins/awsparamstr/awsparamstr-linux-amd64"
        )
    assert rendered() == "of here"
    plugins["here"].unlink()
    assert rendered() == "of home"
