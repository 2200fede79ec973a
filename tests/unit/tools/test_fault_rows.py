"""The table of faults: collected from the tests' markers, in a form that branches can merge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import fault_rows
from tools.fault_rows import Covered

ROOT = Path(__file__).resolve().parents[3]
NUMBERS = list(range(1, 84))


def test_the_page_has_every_fault() -> None:
    assert fault_rows.is_of_this_form((ROOT / "docs" / "faults.md").read_text(encoding="utf-8"))
    assert [number for rows in fault_rows.ROWS.values() for number in rows] == NUMBERS


def test_a_fault_that_is_not_on_the_page_or_called_otherwise_is_noticed() -> None:
    page = fault_rows.page({}, {})
    assert fault_rows.is_of_this_form(page)
    assert not fault_rows.is_of_this_form(page.replace("\n| 7 |", "\n7", 1))
    assert not fault_rows.is_of_this_form(page.replace("the host is killed", "the host is well"))


def test_a_fault_without_test_and_reason_is_told_and_so_is_one_with_both() -> None:
    covered = {number: Covered(["all is well"], ["tests/test_a.py::test_b"]) for number in NUMBERS if number != 7}
    assert fault_rows.missing(covered, {7: "nobody can"}) == []
    assert "fault 7 " in "".join(fault_rows.missing(covered, {}))
    assert "fault 8 " in "".join(fault_rows.missing(covered, {7: "nobody can", 8: "nor this"}))


MARKED = """
import pytest

@pytest.mark.parametrize("number", [pytest.param(1, marks=pytest.mark.fault(1, "one error.")), 2])
@pytest.mark.fault(3, "a | b")
def test_b(number):
    raise AssertionError("this is collected and not run")

@pytest.mark.fault(1, "one error")
@pytest.mark.fault(WRONG, "what")
def test_a():
    raise AssertionError("this is collected and not run")
"""
COLLECT = """
import json
from tools import fault_rows
covered, problems = fault_rows.collect("{file}")
print(json.dumps([covered, problems]))
"""


@pytest.mark.parametrize(("wrong", "problems"), [("2", 0), ("99", 1), ("'1'", 1)])
def test_markers_are_collected_without_running_a_test(tmp_path, wrong: str, problems: int) -> None:
    import json

    file = tmp_path / "test_marked.py"
    file.write_text(MARKED.replace("WRONG", wrong))
    # In a process of its own: pytest within pytest would share its plugins.
    done = subprocess.run(
        [sys.executable, "-c", COLLECT.format(file=file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    covered, told = json.loads(done.stdout)
    assert len(told) == problems, told
    assert covered["3"][0] == ["a | b"]
    assert covered["1"][0] == ["one error"]
    assert [test.rpartition("::")[2] for test in covered["1"][1]] == ["test_b", "test_a"]
