"""What brings a plugin back, with instances that die on command; real processes are in tests/integration."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import pytest
from waiting import PATIENCE

from injector.backends.contract import Limits
from injector.backends.goplugin.supervision import RestartPolicy
from injector.backends.goplugin.supervisor import SupervisedPlugin
from injector.backends.plugin_status import PluginState
from injector.errors import (
    AccessDenied,
    CallTimeout,
    InjectorError,
    PluginCrashed,
    PluginError,
    PluginKeepsCrashing,
    PluginRefused,
    PluginStartFailed,
)
from injector.model.references import Reference, Value
from injector.model.secret import Secret
from injector.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from injector.backends.contract import Answer

REFERENCE = Reference("A", "/a")


class Instance:
    """Answers with its own number; a path `crash` kills it, `hang` never answers."""

    limits = Limits(largest_batch=7)

    def __init__(self, world: World, number: int) -> None:
        self.name = f"plugin a (instance {number})"
        self.number = number
        self.loss: str | None = None
        self.is_healthy = True
        self.closed = 0
        self.asked: list[str] = []
        self._world = world

    async def fetch(self, references: Sequence[Reference], *, timeout: float) -> AsyncIterator[Answer]:
        for reference in references:
            self.asked.append(reference.path)
            if reference.path == "crash":
                self.loss = "ended between two calls: exit code 3"
                yield reference, PluginCrashed(f"{self.name} ended")
            elif reference.path == "raise":
                self.loss = "ended"
                raise PluginCrashed(f"{self.name} ended")
            else:
                yield reference, Value(Secret(str(self.number).encode()))

    async def check_health(self, *, within: float) -> bool:
        return self.is_healthy

    async def close(self) -> None:
        self.closed += 1
        self.loss = "is stopped"
        self._world.alive.discard(self.number)


class World:
    """Starts instances, at most one at a time, or fails as the test says."""

    def __init__(self) -> None:
        self.instances: list[Instance] = []
        self.alive: set[int] = set()
        self.failures: list[InjectorError | None] = []
        self.starts = 0
        self.start_delay = 0.0

    async def start(self) -> Instance:
        self.starts += 1
        await asyncio.sleep(self.start_delay)
        error = self.failures.pop(0) if self.failures else None
        if error is not None:
            raise error
        assert not self.alive, "an instance was started beside another"
        instance = Instance(self, self.starts)
        self.alive.add(instance.number)
        self.instances.append(instance)
        return instance


@pytest.fixture
def world() -> World:
    return World()


def own_tasks() -> set[str]:
    return {name for task in asyncio.all_tasks() if "SupervisedPlugin" in (name := task.get_coro().__qualname__)}


@pytest.fixture
async def supervise(world: World):
    """`supervise(policy fields)`; at the end nothing of it is left."""
    made: list[SupervisedPlugin] = []

    def make(**policy: object) -> SupervisedPlugin:
        policy = {"first_pause": 0.001, "longest_pause": 0.002} | policy
        made.append(SupervisedPlugin("plugin a", world.start, policy=RestartPolicy(**policy), log=Log(Level.OFF)))
        return made[-1]

    yield make
    for plugin in made:
        await plugin.close()
        await plugin.close()
    assert not own_tasks()
    assert not world.alive
    assert all(instance.closed for instance in world.instances)


async def ask(plugin: SupervisedPlugin, path: str = "/a", timeout: float = PATIENCE):
    ((_, outcome),) = [answer async for answer in plugin.fetch([Reference("A", path)], timeout=timeout)]
    return outcome.data.reveal().decode() if isinstance(outcome, Value) else outcome


async def test_it_is_started_at_the_first_need_and_once_for_all_callers(world, supervise) -> None:
    plugin = supervise()
    assert (plugin.state, plugin.name, plugin.status().starts) == (PluginState.IDLE, "plugin a", 0)
    world.start_delay = 0.01
    assert await asyncio.gather(*(ask(plugin) for _ in range(20))) == ["1"] * 20
    assert (plugin.state, plugin.name, plugin.limits) == (PluginState.RUNNING, "plugin a (instance 1)", Instance.limits)


async def test_a_call_that_dies_with_the_plugin_is_not_repeated_here_and_the_next_one_works(world, supervise) -> None:
    plugin = supervise()
    assert await ask(plugin) == "1"
    assert isinstance(await ask(plugin, "crash"), PluginCrashed)
    assert plugin.state is PluginState.LOST
    assert await ask(plugin) == "2"
    status = plugin.status()
    assert (status.state, status.starts, status.crashes, status.failed_starts) == (PluginState.RUNNING, 2, 1, 0)
    assert status.last_error == "plugin a (instance 1) ended"
    assert status.lost_at is not None
    assert status.started_at is not None
    assert status.lost_at <= status.started_at
    assert world.instances[0].closed == 1


async def test_a_crash_that_ends_the_whole_call_counts_as_well(world, supervise) -> None:
    plugin = supervise()
    with pytest.raises(PluginCrashed):
        await ask(plugin, "raise")
    assert await ask(plugin) == "2"


async def test_one_crash_heard_of_by_many_calls_is_one_restart(world, supervise) -> None:
    plugin = supervise()
    await ask(plugin)
    instance = world.instances[0]
    answers = [plugin.fetch([Reference("A", "crash")] * 3, timeout=PATIENCE)]
    async for _, outcome in answers[0]:
        assert isinstance(outcome, PluginCrashed)
    assert instance.asked.count("crash") == 3
    assert await ask(plugin) == "2"
    assert plugin.status().crashes == 1


async def test_a_plugin_lost_between_two_calls_costs_no_call(world, supervise) -> None:
    plugin = supervise()
    await ask(plugin)
    world.instances[0].loss = "ended between two calls: killed by signal SIGKILL"
    assert plugin.state is PluginState.LOST
    assert plugin.instance is None
    assert await ask(plugin) == "2"
    assert plugin.status().last_error == "plugin a (instance 1) ended between two calls: killed by signal SIGKILL"


async def test_every_new_instance_is_configured_in_order_before_its_first_call(world, supervise) -> None:
    plugin = supervise()
    done: list[tuple[str, int, int]] = []

    async def first(instance: Instance) -> None:
        await asyncio.sleep(0.001)
        done.append(("first", instance.number, len(instance.asked)))

    async def second(instance: Instance) -> None:
        done.append(("second", instance.number, len(instance.asked)))

    plugin.configure += [first, second]
    await asyncio.gather(*(ask(plugin) for _ in range(5)))
    await ask(plugin, "crash")
    await ask(plugin)
    assert done == [("first", 1, 0), ("second", 1, 0), ("first", 2, 0), ("second", 2, 0)]


async def test_a_configuration_that_is_refused_is_the_calls_error_and_costs_the_instance(world, supervise) -> None:
    plugin = supervise()

    async def refuse(_: Instance) -> None:
        raise AccessDenied("these credentials are not known")

    plugin.configure.append(refuse)
    with pytest.raises(AccessDenied):
        await ask(plugin)
    assert world.instances[0].closed == 1
    plugin.configure.clear()
    assert await ask(plugin) == "2"


async def test_a_first_start_that_fails_is_not_tried_again_for_that_call(world, supervise) -> None:
    plugin = supervise()
    world.failures = [PluginStartFailed("no"), None]
    with pytest.raises(PluginStartFailed):
        await plugin.ready()
    assert world.starts == 1
    await plugin.ready()
    assert await ask(plugin) == "2"


async def test_a_restart_that_fails_is_tried_again_within_the_calls_time(world, supervise) -> None:
    plugin = supervise()
    await ask(plugin, "crash")
    world.failures = [PluginStartFailed("no"), PluginStartFailed("no"), None]
    assert await ask(plugin) == "4"
    assert plugin.status().failed_starts == 2


async def test_a_plugin_that_is_refused_at_its_restart_is_not_tried_again_for_that_call(world, supervise) -> None:
    plugin = supervise()
    await ask(plugin, "crash")
    world.failures = [PluginRefused("writable by others")]
    with pytest.raises(PluginRefused):
        await ask(plugin)
    assert world.starts == 2


async def test_after_so_many_restarts_it_is_given_up_and_says_how_often_it_crashed(world, supervise) -> None:
    plugin = supervise(most_restarts=3)
    for _ in range(4):
        assert isinstance(await ask(plugin, "crash"), PluginCrashed)
    assert plugin.state is PluginState.GIVEN_UP
    with pytest.raises(PluginKeepsCrashing, match=r"crashed 4 times; .*the last time: .*instance 4\) ended"):
        await ask(plugin)
    assert world.starts == 4


async def test_failed_restarts_use_up_the_same_budget(world, supervise) -> None:
    plugin = supervise(most_restarts=3)
    await ask(plugin, "crash")
    world.failures = [PluginStartFailed("cannot start")] * 9
    with pytest.raises(PluginKeepsCrashing, match=r"crashed once, and 3 times it did not start again.*cannot start"):
        await ask(plugin)
    assert world.starts == 4


async def test_the_crash_count_is_in_the_message_from_the_second_on(world, supervise) -> None:
    plugin = supervise()
    messages = [str(await ask(plugin, "crash")) for _ in range(3)]
    assert ["crash 2 of" in m for m in messages] == [False, True, False]
    assert "crash 3 of" in messages[2]


@pytest.mark.fault(21, "longer pauses between restarts, up to a limit")
async def test_the_first_restart_is_immediate_and_the_next_ones_wait_longer_each(world, supervise, monkeypatch) -> None:
    ceilings: list[float] = []

    def draw(low: float, high: float) -> float:
        assert low == 0
        ceilings.append(high)
        return 0.0

    monkeypatch.setattr(random, "uniform", draw)
    plugin = supervise(first_pause=0.5, longest_pause=30.0)
    for _ in range(10):
        await ask(plugin, "crash")
    assert ceilings == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


async def test_a_healthy_spell_makes_the_next_loss_the_first_again(world, supervise, monkeypatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    plugin = supervise(first_pause=60.0, longest_pause=60.0, healthy_after=0.0)
    for _ in range(5):
        await ask(plugin, "crash")
    assert await ask(plugin, timeout=30) == "6"


async def test_a_call_whose_time_ends_before_the_next_attempt_fails_at_once_with_the_last_cause(
    world, supervise, monkeypatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    plugin = supervise(first_pause=60.0, longest_pause=60.0)
    await ask(plugin, "crash")
    await ask(plugin, "crash")
    async with asyncio.timeout(20):
        with pytest.raises(PluginKeepsCrashing, match=r"next attempt is due in 60 s: .*instance 2\) ended"):
            await ask(plugin, timeout=30)


async def test_a_call_does_not_wait_for_a_start_beyond_its_time_and_the_start_goes_on(world, supervise) -> None:
    plugin = supervise()
    world.start_delay = 1.0
    with pytest.raises(CallTimeout):
        await ask(plugin, timeout=0.01)
    assert plugin.state is PluginState.STARTING
    assert await ask(plugin) == "1"
    assert world.starts == 1


async def test_a_cancelled_caller_does_not_cancel_the_start_for_the_others(world, supervise) -> None:
    plugin = supervise()
    world.start_delay = 1.0
    one, other = asyncio.ensure_future(ask(plugin)), asyncio.ensure_future(ask(plugin))
    await asyncio.sleep(0.01)
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    assert await other == "1"


async def test_closing_ends_a_start_under_way_and_answers_who_waits(world, supervise) -> None:
    plugin = supervise()
    world.start_delay = 60
    waiting = asyncio.ensure_future(ask(plugin))
    await asyncio.sleep(0.01)
    await plugin.close()
    with pytest.raises(PluginError, match="is stopped"):
        await waiting
    with pytest.raises(PluginError, match="is stopped"):
        await ask(plugin)
    assert plugin.state is PluginState.CLOSED


async def test_an_iteration_that_is_given_up_ends_the_call_at_once(world, supervise) -> None:
    plugin = supervise()
    ended = asyncio.Event()

    async def answers(references, *, timeout):
        try:
            for reference in references:
                yield reference, Value(Secret(b"x"))
        finally:
            ended.set()

    await plugin.ready()
    world.instances[0].fetch = answers
    fetching = plugin.fetch([REFERENCE] * 2, timeout=PATIENCE)
    async with contextlib.aclosing(fetching):
        await anext(fetching)
    assert ended.is_set()


# ------------------------------------------------------------------------------------------------------------ health


async def happens(condition) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


async def test_without_an_interval_no_task_polls(world, supervise) -> None:
    plugin = supervise(health_interval=None)
    await ask(plugin)
    assert not own_tasks()
    polled = supervise(health_interval=60)
    world.alive.clear()
    await ask(polled)
    assert own_tasks() == {"SupervisedPlugin._poll"}


async def test_two_missed_health_checks_are_a_restart_and_one_is_not(world, supervise) -> None:
    plugin = supervise(health_interval=0.01, health_timeout=3)
    await ask(plugin)
    answers = iter([False, True, False, True])

    async def flaky(*, within: float) -> bool:
        assert within == 3
        return next(answers, True)

    world.instances[0].check_health = flaky
    await happens(lambda: next(iter(answers), None) is None)
    assert await ask(plugin) == "1"
    world.instances[0].check_health = Instance.check_health.__get__(world.instances[0])
    world.instances[0].is_healthy = False
    await happens(lambda: len(world.instances) == 2)
    await happens(lambda: plugin.state is PluginState.RUNNING)
    assert world.instances[0].closed == 1
    assert "did not pass 2 health checks of 3 s, and was killed" in (plugin.status().last_error or "")


async def test_polling_brings_a_dead_plugin_back_without_a_call(world, supervise) -> None:
    plugin = supervise(health_interval=0.01)
    await ask(plugin)
    world.instances[0].loss = "ended"
    world.failures = [PluginStartFailed("not yet"), PluginRefused("not yet either"), None]
    await happens(lambda: len(world.instances) == 2)
    assert await ask(plugin) == "4"
