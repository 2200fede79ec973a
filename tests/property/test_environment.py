"""An env template gives each variable exactly its secret, whatever is in it and however the template quotes it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from injector.app.build import registry
from injector.app.environment import read_variables, resolve_variables
from injector.errors import EnvironmentInvalid, InjectorError, RunFailed
from injector.model.template import Source
from injector.settings.schema import Settings
from injector.telemetry.logs import Level, Log

SECRETS = st.one_of(
    st.binary(max_size=40).filter(lambda data: b"\0" not in data),
    st.text(alphabet="\"'\\$`#= \n\r\t{}x\u00e9", max_size=20).map(str.encode),
)
QUOTES = st.sampled_from(["{}", '"{}"', "'{}'", "  {}  # comment"])


def resolved(template: str) -> dict[str, bytes]:
    async def resolve() -> dict[str, bytes]:
        log = Log(Level.OFF)
        backends = registry(Settings(), os.environ, log)
        try:
            variables = read_variables(Source("app.env", template.encode()))
            found = await resolve_variables(variables, Settings(), backends, environment=os.environ, log=log)
            return {name: value.reveal() for name, value in found.values.items()}
        finally:
            await backends.close()

    return asyncio.run(resolve())


@given(secrets=st.lists(st.tuples(SECRETS, QUOTES), min_size=1, max_size=3))
def test_every_variable_is_its_secret(secrets: list[tuple[bytes, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = []
        for number, (secret, quotes) in enumerate(secrets):
            path = Path(folder, str(number))
            path.write_bytes(secret)
            lines.append(f"V{number}=" + quotes.format(f"FILE://{path}"))
        assert resolved("\n".join(lines) + "\n") == {f"V{i}": secret for i, (secret, _) in enumerate(secrets)}


def problems_of(text: str) -> tuple[InjectorError, ...]:
    try:
        read_variables(Source("app.env", text.encode()))
    except RunFailed as failed:
        return failed.errors
    return ()


@given(text=st.text(max_size=60))
def test_any_text_is_read_or_refused_with_its_places(text: str) -> None:
    assert all(isinstance(error, EnvironmentInvalid) and error.place for error in problems_of(text))


def test_places_are_those_of_the_file() -> None:
    template = "# comment\n\nexport A=1\nB='two\nlines FILE:///nowhere/b'\n  C = \"x\\n FILE:///nowhere/c\"\n"
    with pytest.raises(RunFailed) as caught:
        resolved(template)
    assert [str(error.place) for error in caught.value.errors] == ["app.env:5:7", "app.env:6:9"]
