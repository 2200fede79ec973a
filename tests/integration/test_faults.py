"""The table of docs/plugin-faults.md is true: each fault is run again, by the command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import fault_table
from tools.plugin_faults import FAULTS, Fault, run

ROOT = Path(__file__).resolve().parents[2]
ALL = [fault for faults in FAULTS.values() for fault in faults]


@pytest.mark.go
@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.does)
def test_a_fault_has_its_code_and_message_in_time_and_leaves_nothing(fault: Fault, faultplugin, tmp_path: Path) -> None:
    assert fault_table.verdict(fault, run(fault, faultplugin, tmp_path)) is None


def test_the_page_has_every_fault_with_its_code() -> None:
    page = (ROOT / "docs" / "plugin-faults.md").read_text()
    rows = [re.split(r"(?<!\\)\|", line) for line in page.splitlines() if line.startswith("| ")]
    documented = {
        cells[1].strip().replace("\\|", "|"): cells[3].strip() for cells in rows if cells[3].strip().isdigit()
    }
    assert documented == {fault.does: str(fault.code) for fault in ALL}
