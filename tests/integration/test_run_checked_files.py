"""`injector run` with formats and check commands: a file that fails its check keeps its last good content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from integration.test_run_command import RunningSidecar, eventually, here, replace, sidecar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["here", "sidecar"]

SETTINGS = """\
apiVersion: config-injector.io/v1alpha1
kind: Injector
refresh: 200ms
rescan: 300ms
files:
  - match: app.conf
    check: [grep, -q, -v, canary-bad, "{file}"]
"""


def test_a_value_is_spelled_as_the_file_s_format_wants_it(sidecar: Callable[..., RunningSidecar], here: Path) -> None:
    (here / "secret").write_text('it\'s "x" # no: comment')
    (here / "templates" / "app.yaml").write_text(f"password: FILE://{here}/secret\n")
    running = sidecar("templates", "--output-dir", "out")
    running.has("app.yaml", 'password: "it\'s \\"x\\" # no: comment"\n')
    assert running.stop() == 0


def test_a_file_that_its_check_refuses_keeps_the_last_good_content(
    sidecar: Callable[..., RunningSidecar], here: Path
) -> None:
    (here / "settings.yaml").write_text(SETTINGS)
    (here / "templates" / "other.conf").write_text(f"x=FILE://{here}/secret\n")
    running = sidecar("templates", "--output-dir", "out", "--config", "settings.yaml")
    running.has("app.conf", "password=one\n")
    replace(here / "secret", "canary-bad")
    running.has("other.conf", "x=canary-bad\n")
    eventually(lambda: any("check-failed" in str(line) for line in running.lines()))
    assert (running.out / "app.conf").read_text() == "password=one\n"
    replace(here / "secret", "two")
    running.has("app.conf", "password=two\n")
    assert running.stop() == 0
    assert "canary" not in (here / "log").read_text()
