"""`ENV://NAME`."""

from __future__ import annotations

import pytest
from waiting import PATIENCE

from injector.backends.builtin.environment import EnvironmentBackend
from injector.errors import InvalidReference, ValueNotFound
from injector.model.references import DocumentFormat, Reference


async def _fetch(environ, *references):
    backend = EnvironmentBackend(environ)
    return [outcome async for _, outcome in backend.fetch(references, timeout=PATIENCE)]


async def test_a_variable_is_answered_byte_for_byte():
    value, empty = await _fetch(
        {"A": "p\udcffss \N{SNOWMAN}", "B_2.c-d": ""}, Reference("ENV", "A"), Reference("ENV", "B_2.c-d")
    )
    assert value.data.reveal() == b"p\xffss \xe2\x98\x83"
    assert value.format is DocumentFormat.JSON
    assert empty.data.reveal() == b""


async def test_an_unset_variable_is_missing():
    (answer,) = await _fetch({"A": "1"}, Reference("ENV", "B"))
    assert isinstance(answer, ValueNotFound)
    assert "B is not set" in answer.message


@pytest.mark.parametrize("path", ["/A", "", "A=B", "A B", "1A", "A\0", "\N{SNOWMAN}", "A/"])
async def test_what_is_no_name_is_refused(path):
    (answer,) = await _fetch({"A": "1", path: "2"}, Reference("ENV", path))
    assert isinstance(answer, InvalidReference)


@pytest.mark.parametrize("more", [{"metadata": "version=1"}, {"connection": "prod"}])
async def test_metadata_and_connections_are_refused(more):
    (answer,) = await _fetch({"A": "1"}, Reference("ENV", "A", **more))
    assert isinstance(answer, InvalidReference)


async def test_every_reference_is_answered_once():
    backend = EnvironmentBackend({"A": "1"})
    references = [Reference("ENV", name) for name in ("A", "B", "/")]
    assert [reference async for reference, _ in backend.fetch(references, timeout=PATIENCE)] == references
    assert backend.limits.largest_batch >= 1000
    await backend.close()
    await backend.close()
