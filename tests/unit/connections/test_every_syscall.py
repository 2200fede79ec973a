"""A process that is killed at any system call of a change leaves the connections old or new, all of them open."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)  # hundreds of processes, one after the other, perhaps on a busy machine

TESTS = Path(__file__).resolve().parents[2]
# Far fewer would mean that the kills missed the change.
PLACES = {
    "first": 150,
    "add": 150,
    "edit": 150,
    "remove": 100,
    "rotate": 200,
    "rotate-forget": 200,
    "rotate-to-file": 150,
}


@pytest.mark.parametrize("change", PLACES)
def test_connections_are_old_or_new_wherever_a_change_is_killed(change: str, tmp_path: Path) -> None:
    command = [sys.executable, str(TESTS / "connection_sweep.py"), change, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TESTS, timeout=590)
    assert run.returncode == 0, run.stderr
    places = [json.loads(line) for line in run.stdout.splitlines()]
    if "skip" in places[0]:
        pytest.skip(places[0]["skip"])
    assert len(places) > PLACES[change]
    order = [place["state"] for place in places]
    assert set(order) == {"old", "new"}
    assert order == sorted(order, key=["old", "new"].index)
    wrong = [place for place in places if (place["last"], place["strays"], place["open"]) != ("new", [], [])]
    assert wrong == []
