"""The collector of cycles stays out of a start, and comes back in a process that goes on."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    command = [sys.executable, "-P", "-c", f"import gc\nfrom injector.process import collection\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_a_command_of_its_own_is_not_looked_through_while_it_starts() -> None:
    code = """
import os, sys
looks = []
gc.callbacks.append(lambda phase, _: looks.append(phase))
os._exit = lambda code: print(code, len(looks), flush=True)
sys.argv = ["injector", "version"]
from injector.cli.start import entry
entry()
"""
    assert run(code).splitlines()[-1] == "0 0"


def test_a_process_that_goes_on_is_collected_as_usual_without_what_it_started_with() -> None:
    code = """
usual = gc.get_threshold()
collection.rarely()
assert gc.get_threshold()[0] > 10 * usual[0]
collection.settle()
assert gc.get_threshold() == usual, gc.get_threshold()
assert gc.get_freeze_count() > 1_000
assert len(gc.get_objects()) < 1_000
print("well")
"""
    assert run(code) == "well"


def test_the_collector_of_somebody_elses_process_is_left_alone() -> None:
    code = "collection.settle()\nprint(gc.get_freeze_count())"
    assert run(code) == "0"
