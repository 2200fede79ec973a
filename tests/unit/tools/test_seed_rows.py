"""The first documents, sentence by sentence: each has a test or a reason, and the page says which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools import seed_rows
from tools.seed_claims import CLAIMS, Claim

if TYPE_CHECKING:
    from pathlib import Path


def test_every_claim_has_a_test_or_a_reason_and_the_page_is_current() -> None:
    assert seed_rows.main(["--check"]) == 0


def test_a_claim_without_test_and_reason_is_told() -> None:
    claims = {"000:1": Claim("a"), "000:2": Claim("b", "because", is_reason=True), "000:3": Claim("c", "so")}
    assert seed_rows.missing({"000:1": ["tests/test_a.py::test_a"]}, claims) == [
        "claim 000:3 (c) has no test and no reason"
    ]


MARKED = """
import pytest

@pytest.mark.seed("000:5", "000:8")
@pytest.mark.parametrize("x", [1])
async def test_a(x):
    raise AssertionError("this is read and not run")

class TestOf:
    @pytest.mark.seed("999:1")
    def test_b(self):
        pass

@pytest.mark.fault(1, "x")
def test_c():
    pass
"""


def test_markers_are_read_and_one_of_no_claim_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "unit"
    folder.mkdir(parents=True)
    (folder / "test_marked.py").write_text(MARKED)
    found, problems = seed_rows.collect(tmp_path / "tests")
    test = "tests/unit/test_marked.py::test_a"
    assert found == {"000:5": [test], "000:8": [test]}
    assert problems == ["tests/unit/test_marked.py::test_b is said to prove '999:1', which is no claim"]
    page = seed_rows.page(found)
    assert "| [a](../tests/unit/test_marked.py) |" in page
    assert len([line for line in page.splitlines() if line.startswith("| ") and line[2].isdigit()]) == len(CLAIMS)


def test_a_claim_that_is_not_in_the_document_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "000_a.txt").write_text("one **bold** [link](https://x.test) text\n")
    (tmp_path / "002_b.txt").write_text("")
    claims = {"000:1": Claim("bold link … text"), "000:1b": Claim("italic")}
    monkeypatch.setattr(seed_rows, "CLAIMS", claims)
    assert seed_rows.misquoted(tmp_path) == ["000:1b: 'italic' is not in 'one **bold** [link](https://x.test) text'"]
