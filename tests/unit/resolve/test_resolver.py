"""Fan-out, batches, retry, deadline: against backends written for the test, one behaviour each."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import pytest

from injector.backends.contract import Limits as BackendLimits
from injector.backends.contract import RateLimit
from injector.errors import (
    AccessDenied,
    BackendUnavailable,
    CallTimeout,
    InjectorError,
    PluginCrashed,
    PluginError,
    PluginNotFound,
    Throttled,
    ValueNotFound,
)
from injector.model.references import Reference, Value
from injector.model.secret import Secret
from injector.plan.planner import Account, Plan
from injector.resolve import resolver
from injector.resolve.resolver import Limits, resolve
from injector.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from injector.backends.contract import Answer, Outcome

LOG = Log(Level.OFF)


def value(text: str) -> Value:
    return Value(Secret(text.encode()))


class Store:
    """A backend whose answers a function decides; records what it was asked."""

    name = "test store"

    def __init__(self, answer: Callable[[Reference, int], Outcome], limits: BackendLimits = BackendLimits()) -> None:  # noqa: B008  # frozen
        self.limits = limits
        self.calls: list[list[Reference]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._answer = answer
        self._asked: dict[Reference, int] = {}
        self.delay = 0.0
        self.raises_crashes = True

    async def fetch(self, references: Sequence[Reference], *, timeout: float) -> AsyncIterator[Answer]:
        self.calls.append(list(references))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.delay)
            for reference in references:
                self._asked[reference] = self._asked.get(reference, 0) + 1
                answer = self._answer(reference, self._asked[reference])
                if isinstance(answer, PluginCrashed) and self.raises_crashes:
                    raise answer
                yield reference, answer
        finally:
            self.in_flight -= 1

    async def close(self) -> None:
        """Nothing is held."""


def plan_of(count: int, prefix: str = "A") -> Plan:
    return Plan({Account(prefix, None): tuple(Reference(prefix, f"/{n}") for n in range(count))}, count)


async def run(plan: Plan, *stores: Store, limits: Limits = Limits(), **options: object) -> dict[Reference, Outcome]:  # noqa: B008  # frozen
    async def open_backend(account: Account) -> Store:
        return stores[ord(account.prefix) - ord("A")]

    return await resolve(plan, open_backend, limits=limits, log=LOG, **options)  # type: ignore[arg-type]  # progress


def codes(answers: dict[Reference, Outcome]) -> set[str]:
    return {answer.code if isinstance(answer, InjectorError) else "ok" for answer in answers.values()}


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "FIRST_PAUSE", 0.002)
    monkeypatch.setattr(resolver, "LONGEST_PAUSE", 0.01)


async def test_every_reference_gets_its_own_value() -> None:
    store = Store(lambda reference, _: value(reference.path))
    answers = await run(plan_of(200), store)
    assert {reference.path: answer.data.reveal().decode() for reference, answer in answers.items()} == {  # type: ignore[union-attr]  # all are values
        f"/{n}": f"/{n}" for n in range(200)
    }
    assert len(store.calls) == 200


async def test_batches_are_as_large_as_the_backend_takes() -> None:
    store = Store(lambda *_: value("x"), BackendLimits(largest_batch=10, most_in_flight=3))
    store.delay = 0.001
    await run(plan_of(95), store)
    assert sorted(map(len, store.calls)) == [5] + [10] * 9
    assert store.most_in_flight == 3


async def test_what_failed_in_several_batches_goes_out_again_in_full_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "FIRST_PAUSE", 0.5)
    monkeypatch.setattr(resolver, "LONGEST_PAUSE", 0.5)
    monkeypatch.setattr(random, "uniform", lambda _, ceiling: ceiling)

    def answer(reference: Reference, times: int) -> Outcome:
        if times == 1 and int(reference.path[1:]) % 5 == 0:  # two of each ten
            return BackendUnavailable("down")
        return value("x")

    store = Store(answer, BackendLimits(largest_batch=10))
    assert codes(await run(plan_of(100), store)) == {"ok"}
    assert [len(call) for call in store.calls] == [10] * 12


async def test_one_that_is_missing_or_denied_costs_itself_only_and_no_further_call() -> None:
    failing = {"/3": ValueNotFound("x"), "/14": AccessDenied("x")}
    store = Store(lambda reference, _: failing.get(reference.path) or value("x"), BackendLimits(largest_batch=10))
    answers = await run(plan_of(20), store)
    assert {r.path: a.code for r, a in answers.items() if isinstance(a, InjectorError)} == {
        "/3": "value-not-found",
        "/14": "access-denied",
    }
    assert len(store.calls) == 2


async def test_a_described_rate_is_kept_from_the_first_call_on() -> None:
    store = Store(lambda *_: value("x"), BackendLimits(rate=RateLimit(calls_per_second=100, burst=5)))
    started = time.monotonic()
    await run(plan_of(25), store)
    assert time.monotonic() - started >= 0.19  # five at once, and twenty at 100 a second


async def test_the_runs_concurrency_holds() -> None:
    store = Store(lambda *_: value("x"))
    store.delay = 0.001
    await run(plan_of(50), store, limits=Limits(concurrency=4))
    assert store.most_in_flight == 4


async def test_what_may_go_away_is_asked_again_and_only_that() -> None:
    store = Store(
        lambda reference, times: BackendUnavailable("down") if reference.path == "/3" and times < 3 else value("x"),
        BackendLimits(largest_batch=10),
    )
    answers = await run(plan_of(10), store)
    assert codes(answers) == {"ok"}
    assert [len(call) for call in store.calls] == [10, 1, 1]


async def test_a_backend_that_stays_down_is_given_up_after_a_few_attempts() -> None:
    store = Store(lambda *_: BackendUnavailable("down"))
    assert codes(await run(plan_of(1), store)) == {"backend-unavailable"}
    assert len(store.calls) == resolver.MOST_ATTEMPTS


@pytest.mark.parametrize("whole_call", [True, False])
async def test_a_crash_costs_its_own_references_one_retry_and_no_more(whole_call: bool) -> None:
    def answer(reference: Reference, times: int) -> Outcome:
        dies = reference.path == "/0" or (reference.path == "/1" and times == 1)
        return PluginCrashed("it ended") if dies else value("x")

    store = Store(answer)
    store.raises_crashes = whole_call
    answers = await run(plan_of(4), store)
    assert {r.path: codes({r: a}) for r, a in answers.items()} == {
        "/0": {"plugin-crashed"},
        "/1": {"ok"},
        "/2": {"ok"},
        "/3": {"ok"},
    }
    assert len(store.calls) == 6


async def test_a_crash_after_other_retries_still_has_its_own() -> None:
    outcomes = [Throttled("slow", retry_after=0.001)] * 5 + [PluginCrashed("it ended"), value("x")]
    store = Store(lambda _, times: outcomes[times - 1])
    assert codes(await run(plan_of(1), store)) == {"ok"}
    assert len(store.calls) == 7


@pytest.mark.parametrize("error", [ValueNotFound("x"), AccessDenied("x"), PluginError("x")], ids=lambda e: e.code)
async def test_what_will_not_change_is_asked_once(error: InjectorError) -> None:
    store = Store(lambda *_: error)
    assert codes(await run(plan_of(3), store)) == {error.code}
    assert len(store.calls) == 3


@pytest.mark.fault(56, "throttling is waited out, and slows the calls down")
async def test_throttling_is_waited_out_and_slows_the_rate() -> None:
    granted = 0

    def answer(_: Reference, times: int) -> Outcome:
        nonlocal granted
        if granted >= 20 and times == 1:
            return Throttled("slow down", retry_after=0.001)
        granted += 1
        return value("x")

    store = Store(answer)
    assert codes(await run(plan_of(40), store)) == {"ok"}
    assert len(store.calls) == 60


async def test_the_deadline_answers_what_is_still_open_and_keeps_what_is_there() -> None:
    async def never() -> None:
        await asyncio.sleep(3600)

    class Stuck(Store):
        async def fetch(self, references: Sequence[Reference], *, timeout: float) -> AsyncIterator[Answer]:
            if references[0].path != "/0":
                await never()
            yield references[0], value("x")

    answers = await run(plan_of(3), Stuck(lambda *_: value("x")), limits=Limits(deadline=1.5))
    assert [codes({r: a}) for r, a in answers.items() if r.path == "/0"] == [{"ok"}]
    assert sorted(map(str, codes(answers))) == ["deadline-exceeded", "ok"]
    assert {a.exit_code for a in answers.values() if isinstance(a, InjectorError)} == {5}


async def test_the_deadlines_error_tells_what_kept_it_waiting() -> None:
    store = Store(lambda *_: CallTimeout("no answer within 1 s", retry_after=60))
    answers = await run(plan_of(1), store, limits=Limits(deadline=1.0))
    (answer,) = answers.values()
    assert isinstance(answer, InjectorError)
    assert "no answer within 1 s" in answer.message


async def test_a_slow_backend_does_not_hold_up_another() -> None:
    slow, quick = Store(lambda *_: value("s")), Store(lambda *_: value("q"))
    slow.delay = 3600
    plan = Plan({**plan_of(1, "A").fetches, **plan_of(5, "B").fetches}, 6)
    answers = await run(plan, slow, quick, limits=Limits(deadline=1.5))
    assert sum(isinstance(answer, Value) for answer in answers.values()) == 5


async def test_a_backend_that_cannot_be_opened_costs_its_own_references_only() -> None:
    store = Store(lambda *_: value("x"))

    async def open_backend(account: Account) -> Store:
        if account.prefix == "A":
            raise PluginNotFound("no plugin for A")
        return store

    plan = Plan({**plan_of(2, "A").fetches, **plan_of(2, "B").fetches}, 4)
    answers = await resolve(plan, open_backend, limits=Limits(), log=LOG)
    assert {(r.prefix, codes({r: a}).pop()) for r, a in answers.items()} == {("A", "plugin-not-found"), ("B", "ok")}


async def test_a_reference_that_the_backend_forgets_is_an_error_and_not_a_hang() -> None:
    class Forgetful(Store):
        async def fetch(self, references: Sequence[Reference], *, timeout: float) -> AsyncIterator[Answer]:
            return
            yield

    assert codes(await run(plan_of(2), Forgetful(lambda *_: value("x")))) == {"plugin-failed"}


async def test_progress_counts_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    await run(plan_of(5), Store(lambda *_: value("x")), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 5) for n in range(1, 6)]


async def test_a_fault_in_a_backend_is_raised_and_not_swallowed() -> None:
    def broken(*_: object) -> Outcome:
        raise ZeroDivisionError

    with pytest.raises(BaseExceptionGroup) as caught:
        await run(plan_of(1), Store(broken))
    assert caught.group_contains(ZeroDivisionError)
