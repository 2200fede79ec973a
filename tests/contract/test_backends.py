"""One suite over everything that answers for a prefix: the promises of injector.backends.contract.Backend."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from injector.backends.builtin.environment import EnvironmentBackend
from injector.backends.builtin.file import FileBackend
from injector.errors import InjectorError, MissingError
from injector.model.references import Reference, Value

if TYPE_CHECKING:
    from injector.backends.contract import Backend

KNOWN = {"ALPHA": "first", "BETA": 'second value: \N{SNOWMAN} "quoted" \\', "GAMMA": "x" * 100_000}
PYTHON_PLUGIN = """
from injector.sdk import LookupStore, NotFound, serve

KNOWN = {known!r}

class Demo(LookupStore):
    def look_up(self, reference):
        if reference.path not in KNOWN:
            raise NotFound("there is no " + reference.path)
        return KNOWN[reference.path]

serve(Demo())
"""


KINDS = ["ENV", "FILE", "go plugin, protocol 1", "python plugin, protocol 1", "python plugin, protocol 2"]


@pytest.fixture(params=KINDS)
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path, install: Any, start_backend: Any, demostore: Path
) -> Backend:
    """The backend under test, knowing exactly KNOWN."""
    kind = request.param
    if kind == "ENV":
        return EnvironmentBackend(KNOWN)
    if kind == "FILE":
        for name, text in KNOWN.items():
            (tmp_path / name).write_text(text)
        return FileBackend(root=tmp_path, max_value_bytes=1 << 20)
    if kind.startswith("go"):
        values = tmp_path / "values.json"
        values.write_text(json.dumps(KNOWN))
        return await start_backend(install("demostore", demostore), DEMOSTORE_FILE=str(values))
    script = f"#!{sys.executable}\n{PYTHON_PLUGIN.format(known=KNOWN)}"
    return await start_backend(install("demo", script), versions=(int(kind[-1]),))


async def ask(backend: Backend, *paths: str, timeout: float = 20) -> dict[str, Any]:
    """What the backend answers, in as many calls as its limits ask for, all at once."""
    references = [Reference("DEMO", path) for path in paths]
    size = backend.limits.largest_batch
    answers: list[tuple[str, Any]] = []

    async def call(batch: list[Reference]) -> None:
        async for reference, outcome in backend.fetch(batch, timeout=timeout):
            answers.append((reference.path, outcome))

    await asyncio.gather(*(call(references[start : start + size]) for start in range(0, len(references), size)))
    assert len(answers) == len(dict(answers)), "a reference was answered twice"
    return dict(answers)


def text(outcome: Any) -> str:
    assert isinstance(outcome, Value), outcome
    return outcome.data.reveal().decode()


@pytest.mark.fault(11, "every byte is kept")
async def test_known_values_come_back_byte_for_byte(backend: Backend) -> None:
    answers = await ask(backend, *KNOWN)
    assert {path: text(outcome) for path, outcome in answers.items()} == KNOWN


async def test_a_missing_value_is_missing_and_costs_itself_only(backend: Backend) -> None:
    answers = await ask(backend, "ALPHA", "NOT_THERE", "BETA")
    assert isinstance(answers["NOT_THERE"], MissingError)
    assert "NOT_THERE" in str(answers["NOT_THERE"])
    assert (text(answers["ALPHA"]), text(answers["BETA"])) == (KNOWN["ALPHA"], KNOWN["BETA"])


async def test_many_calls_at_the_same_time_each_get_their_own_answer(backend: Backend) -> None:
    rounds = await asyncio.gather(*(ask(backend, "ALPHA", "BETA") for _ in range(100)))
    assert all({path: text(outcome) for path, outcome in one.items()} == {p: KNOWN[p] for p in one} for one in rounds)


async def test_an_abandoned_call_disturbs_no_later_one(backend: Backend) -> None:
    async for _ in backend.fetch([Reference("DEMO", "ALPHA")], timeout=20):
        break
    assert text((await ask(backend, "BETA"))["BETA"]) == KNOWN["BETA"]


async def test_no_outcome_prints_its_value(backend: Backend) -> None:
    answers = await ask(backend, "ALPHA", "NOT_THERE")
    assert KNOWN["ALPHA"] not in repr(answers)


async def test_it_has_a_name_and_limits_that_can_be_kept(backend: Backend) -> None:
    assert backend.name
    assert backend.limits.largest_batch >= 1
    assert backend.limits.most_in_flight >= 1


async def test_it_can_be_closed_twice_and_then_answers_with_an_error_or_a_value(backend: Backend) -> None:
    await backend.close()
    await backend.close()
    (outcome,) = (await ask(backend, "ALPHA")).values()
    assert isinstance(outcome, (InjectorError, Value))
