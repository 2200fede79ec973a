"""The law of rendering: the parsed file holds exactly the secret at its place, or rendering is refused with a place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from injector.model.policy import FileFormat
from tools.hostile_secrets import FORMATS, TEMPLATES, differences, render

HOSTILE = st.sampled_from(
    [
        *"'\"\\\n\r\t\0#{}[]%$`&<>= ;!|*@~,\x1b😀\u2028\x85\ufeffabnu",
        *(": ", "- ", "${", "$(", "]]>", "--", "?>", "  ", "0x1F", "1e5", "1_000", ".5", "012", "+1", "NaN"),
        *("yes", "null", "true", "---", "...", "!!"),
    ]
)
SECRET = st.one_of(st.lists(HOSTILE, max_size=12).map("".join), st.text(max_size=20)).map(
    lambda text: text.encode("utf-8", "ignore")
)
SHELLED = {FileFormat.DOTENV, FileFormat.SHELL}  # these readers start processes


@pytest.mark.fault(11, "every value is read back exactly as it is, or refused with its place")
@pytest.mark.parametrize("file_format", FORMATS)
def test_what_is_read_back_is_the_secret_or_rendering_is_refused(file_format: FileFormat) -> None:
    @settings(
        max_examples=25 if file_format in SHELLED else 250,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
    )
    @given(SECRET)
    def law(secret: bytes) -> None:
        rendered = render(file_format, secret)
        if rendered.problems:
            assert all(problem.place is not None and problem.exit_code == 8 for problem in rendered.problems)
            return
        assert list(differences(file_format, secret, rendered.data.reveal())) == []

    law()


@pytest.mark.parametrize("file_format", FORMATS)
def test_messages_never_hold_the_value(file_format: FileFormat) -> None:
    secret = b"canary-\0\r\n%${x}'\"-canary"
    for problem in render(file_format, secret).problems:
        assert "canary" not in f"{problem} {problem.hint} {problem.place} {problem.token}"


@pytest.mark.fault(50, "rendering takes time in proportion to the size of the template")
@pytest.mark.parametrize("file_format", FORMATS)
def test_time_grows_with_the_number_of_tokens_and_no_faster(
    file_format: FileFormat, growth: Callable[..., float]
) -> None:
    template = repeated(file_format)
    few, many = template(100), template(800)
    assert render(file_format, b"a b", few).problems == ()
    assert growth(lambda: render(file_format, b"a b", few), lambda: render(file_format, b"a b", many), below=20) < 20


def repeated(file_format: FileFormat) -> Callable[[int], bytes]:
    """Templates with as many lines with tokens as one asks for."""
    unit, head, tail, between = {
        FileFormat.JSON: (b'"FILE://secret", FILE://secret', b"[", b"]", b",\n"),
        FileFormat.YAML: (b"- FILE://secret # FILE://secret", b"", b"\n", b"\n"),
        FileFormat.TOML: (b'FILE://secret, "FILE://secret"', b"a = [", b"]", b",\n"),
        FileFormat.XML: (b"<a b='FILE://secret'>FILE://secret</a>", b"<r>", b"</r>", b"\n"),
        FileFormat.SHELL: (b'a=FILE://secret b="FILE://secret" # FILE://secret', b"", b"\n", b"\n"),
    }.get(file_format, (b"N%d=FILE://secret", b"[a]\n" if file_format is FileFormat.INI else b"", b"\n", b"\n"))

    def template(lines: int) -> bytes:
        return head + between.join(unit.replace(b"%d", b"%d" % line) for line in range(lines)) + tail

    return template


def test_the_templates_are_all_tried() -> None:
    assert {path.name for path in TEMPLATES.iterdir()} - {"app.conf"} == {name for name, _, _ in FORMATS.values()}
