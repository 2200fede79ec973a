"""The wording of every error that can be met without a network, as users see it: tests/data/errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from injector import errors
from tools import error_table, error_texts

FILES = sorted(error_texts.TEXTS.glob("*.txt"))


@pytest.mark.parametrize("code", error_texts.SCENARIOS)
def test_an_error_is_told_in_these_words(code: str) -> None:
    told = (error_texts.TEXTS / f"{code}.txt").read_text(encoding="utf-8")
    assert error_texts.text_of(code) == told, f"if that is meant: python -m tools.error_texts {code}"


def test_every_error_has_its_words_or_a_reason_why_not() -> None:
    codes = {kind.code for kind in error_table.leaves() if not kind.code.startswith(error_texts.OTHERS)}
    assert codes == (error_texts.SCENARIOS.keys() | error_texts.WITHOUT_TEXT.keys())
    assert not error_texts.SCENARIOS.keys() & error_texts.WITHOUT_TEXT.keys()
    assert {path.stem for path in FILES} == set(error_texts.SCENARIOS)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_the_words_keep_to_one_style(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert f"[{path.stem}]" in text
    messages = re.findall(r"(?:error|warning): (.*) \[[a-z-]+\]$", text, re.MULTILINE)
    hints = re.findall(r"= help: (.*)$", text, re.MULTILINE)
    assert messages
    assert "Traceback" not in text
    for said in messages + hints:
        # A path, a name of the user's or an abbreviation may come first; a sentence's capital may not.
        assert not re.match(r"[A-Z][a-z]+ ", said), said
        assert not said.endswith((".", "!")), said
    if path.stem != "settings-invalid":  # its messages say what is expected
        assert hints, "no remedy"


def test_the_exit_code_is_the_errors(subtests: pytest.Subtests) -> None:
    by_code = {kind.code: int(kind.exit_code) for kind in error_table.leaves()}
    for path in FILES:
        with subtests.test(path.stem):
            assert f"[exit code {by_code[path.stem]}]" in path.read_text(encoding="utf-8")


def test_every_error_says_when_it_happens_and_what_to_do() -> None:
    assert error_table.problems() == []
    assert error_table.PAGE.read_text(encoding="utf-8") == error_table.page()


def test_an_error_without_a_remedy_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(error_table.REMEDIES, "seal-broken")
    monkeypatch.setattr(errors.SealBroken, "__doc__", None)
    monkeypatch.setitem(error_table.REMEDIES, "of-another-branch", "x")
    assert error_table.problems() == [
        "SealBroken has no docstring, which says when it happens",
        "seal-broken has no remedy in tools/error_remedies.py",
    ]
