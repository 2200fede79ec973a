"""The list of hostile secrets through every format, read back by readers that share nothing with the product."""

from __future__ import annotations

import json

import pytest

from injector.model.policy import FileFormat
from tools import hostile_secrets
from tools.hostile_secrets import FORMATS, PAGE, SECRETS, differences, generate, render, secrets


def test_the_list_is_the_one_that_the_tool_makes() -> None:
    assert SECRETS.read_text() == json.dumps(generate(), indent=0) + "\n"
    assert len(secrets()) == len(generate()) >= 200


@pytest.mark.fault(11, "every value is read back exactly as it is, or refused with its place")
@pytest.mark.parametrize("file_format", FORMATS)
def test_every_secret_is_read_back_or_refused_and_the_page_says_how_many(file_format: FileFormat) -> None:
    carried, refused = 0, 0
    for name, secret in secrets().items():
        rendered = render(file_format, secret)
        if rendered.problems:
            refused += 1
            for problem in rendered.problems:
                assert problem.exit_code == 8, name
                assert problem.place is not None, name
                assert problem.place.line, name
                assert problem.token, name
            assert rendered.data.reveal() == b""
        else:
            assert list(differences(file_format, secret, rendered.data.reveal())) == [], name
            carried += 1
    row = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {file_format} | `"))
    assert row.endswith(f"| {carried} | {refused} |")


def test_the_readers_see_what_is_wrong() -> None:
    """Pasted without escaping, the same secrets are misread or refused by the readers in every format."""
    for file_format, (name, _, _) in FORMATS.items():
        template = (hostile_secrets.TEMPLATES / name).read_bytes()
        pasted = template.replace(b"{{ FILE://secret }}", b"FILE://secret").replace(b"FILE://secret", b"a\nb: \"'#\\ <")
        wrong = False
        try:
            wrong = bool(list(differences(file_format, b"a\nb: \"'#\\ <", pasted)))
        except Exception:  # noqa: BLE001  # each parser has its own
            wrong = True
        assert wrong, file_format


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_without_tokens_is_copied_whatever_it_holds(file_format: FileFormat) -> None:
    data = b"\xff\xfe{{ [ \" ' <a &\r\n\x00"
    assert render(file_format, b"x", data).data.reveal() == data


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_value_that_is_no_text_is_refused_with_the_remedy(file_format: FileFormat) -> None:
    problems = render(file_format, b"\xff").problems
    assert {(problem.code, problem.hint) for problem in problems} == {
        ("value-unfit", "write [encoding=base64] or [encoding=hex] behind the token")
    }
