"""
A plugin that comes back: started when first needed, and again when its process or its connection is lost.

The host of one process (`GoPluginBackend`) is thrown away with its process; this is what stays. Restarts are lazy:
the next call brings the plugin up again, or the next health check where those are on. See docs/decisions/0030.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from injector.backends.contract import HandsOver, Limits, Releasing, TakesConnections, Watching
from injector.backends.plugin_status import PluginState, PluginStatus
from injector.errors import (
    CallTimeout,
    InjectorError,
    InvalidConfiguration,
    PluginCrashed,
    PluginError,
    PluginKeepsCrashing,
    PluginNotFound,
    PluginRefused,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from injector.backends.contract import Answer
    from injector.backends.goplugin.supervision import PluginInstance, RestartPolicy
    from injector.model.references import Reference
    from injector.telemetry.logs import Log

# Nothing that another attempt would change.
_FINAL = (PluginRefused, PluginNotFound)


class SupervisedPlugin:
    """
    A backend whose process is replaced when it is lost. Implements `backends.contract.Backend`.

    Args:
        name: for messages before the first start.
        start: gives a running instance; called for each start, never twice at the same time.
        policy: see RestartPolicy.
        log: told of each loss and each restart.
        configure: called in this order with every new instance, before its first call. One that raises
            InjectorError costs the instance, and the error is the start's.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], Awaitable[PluginInstance]],
        *,
        policy: RestartPolicy,
        log: Log,
        configure: Sequence[Callable[[PluginInstance], Awaitable[None]]] = (),
    ) -> None:
        self.configure = list(configure)
        self._name = name
        self._start = start
        self._policy = policy
        self._log = log
        self._limits = Limits()
        self._instance: PluginInstance | None = None
        self._hung: PluginInstance | None = None  # the latest that was killed for it
        self._starting: asyncio.Task[PluginInstance] | None = None
        self._retiring: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._up_since = 0.0  # of the loop's clock, as is the next
        self._not_before = 0.0
        self._row = 0  # losses and failed starts since the last healthy spell
        self._starts = self._crashes = self._failed_starts = 0
        self._last_error: InjectorError | None = None
        self._started_at: float | None = None
        self._lost_at: float | None = None

    @property
    def name(self) -> str:
        """As the instance has it: `plugin awsparamstr (/path/awsparamstr-linux-amd64)`."""
        return self._name

    @property
    def limits(self) -> Limits:
        """Those of the latest instance."""
        return self._limits

    @property
    def instance(self) -> PluginInstance | None:
        """The running instance, if there is one."""
        return self._instance if self._instance is not None and self._instance.loss is None else None

    @property
    def state(self) -> PluginState:
        """What it is doing now."""
        if self._closing is not None:
            return PluginState.CLOSED
        if self._starting is not None:
            return PluginState.STARTING
        if self.instance is not None:
            return PluginState.RUNNING
        if self._is_given_up:
            return PluginState.GIVEN_UP
        return PluginState.LOST if self._starts or self._failed_starts else PluginState.IDLE

    def status(self) -> PluginStatus:
        """The state, with counts, times, and the message of the last error."""
        return PluginStatus(
            name=self._name,
            state=self.state,
            starts=self._starts,
            crashes=self._crashes,
            failed_starts=self._failed_starts,
            last_error=self._last_error.message if self._last_error else None,
            started_at=self._started_at,
            lost_at=self._lost_at,
        )

    async def ready(self) -> None:
        """
        Returns when an instance is up, starting one if there is none.

        Has no time-out but the start's own. Raises the InjectorError of the start or of a `configure`. A first start
        that fails is not tried again by itself: `ready` and `fetch` do, after a pause. A lost instance is the next
        call's business.
        """
        if self._starts == 0:
            await self._up(None)

    def fetch(self, references: Sequence[Reference], *, timeout: float) -> AsyncIterator[Answer]:
        """
        See Backend.fetch. A restart counts into *timeout*.

        Nothing is asked twice: what a lost instance leaves open is answered PluginCrashed, which may be asked again.
        """
        return self._answers(references, asyncio.get_running_loop().time() + timeout)

    @property
    def can_watch(self) -> bool:
        """Whether the running instance can watch."""
        instance: object = self.instance
        return isinstance(instance, Watching) and instance.can_watch

    async def watch(self, references: Sequence[Reference]) -> AsyncIterator[Reference]:
        """See Watching.watch. Ends with the instance: PluginCrashed is raised, and another call watches a new one."""
        instance = await self._up(None)
        able: object = instance
        if not isinstance(able, Watching):
            raise PluginError(f"{self._name} cannot watch", hint="refresh its values at intervals instead")
        changes = able.watch(references)
        try:
            async for reference in changes:
                yield reference
        except PluginCrashed as error:
            raise self._crashed(instance, error) from None
        finally:
            if isinstance(changes, AsyncGenerator):
                await changes.aclose()

    async def release(self, leases: Sequence[str], *, connection: str | None = None) -> None:
        """See Releasing.release. A lost instance took its leases with it."""
        instance: object = self.instance
        if isinstance(instance, Releasing):
            await instance.release(leases, connection=connection)

    def let_go(self, references: Sequence[Reference]) -> None:
        """See HandsOver.let_go."""
        instance: object = self.instance
        if isinstance(instance, HandsOver):
            instance.let_go(references)

    def take_over(self, leases: Mapping[Reference, str]) -> None:
        """See HandsOver.take_over. They are lost with the instance, as its own are."""
        instance: object = self.instance
        if isinstance(instance, HandsOver):
            instance.take_over(leases)

    async def connect(self, connection: str, *, timeout: float) -> None:  # noqa: ASYNC109  # part of the contract
        """See contract.TakesConnections. A restart counts into *timeout*."""
        deadline = asyncio.get_running_loop().time() + timeout
        instance = await self._up(deadline)
        if not isinstance(instance, TakesConnections):
            raise InvalidConfiguration(f"{self._name} takes no connections", hint="use it without connection=")
        try:
            await instance.connect(connection, timeout=deadline - asyncio.get_running_loop().time())
        except PluginCrashed as error:
            raise self._crashed(instance, error) from None

    async def close(self) -> None:
        """Ends the instance, a start under way and the health checks. May be called more than once. Never raises."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    # ------------------------------------------------------------------------------------------------------- calls

    async def _answers(self, references: Sequence[Reference], deadline: float) -> AsyncIterator[Answer]:
        instance = await self._up(deadline)
        answers = instance.fetch(references, timeout=deadline - asyncio.get_running_loop().time())
        try:
            async for reference, outcome in answers:
                if isinstance(outcome, PluginCrashed):
                    yield reference, self._crashed(instance, outcome)
                else:
                    yield reference, outcome
        except PluginCrashed as error:
            raise self._crashed(instance, error) from None
        finally:
            # An iteration that is given up ends the call at once, not when the garbage is collected.
            if isinstance(answers, AsyncGenerator):
                await answers.aclose()

    def _crashed(self, instance: PluginInstance, error: PluginCrashed) -> PluginCrashed:
        self._lose(instance, error)
        if instance is self._hung and self._last_error is not None:
            return PluginCrashed(self._last_error.message, hint=self._last_error.hint)
        if self._crashes < 2:
            return error
        return PluginCrashed(f"{error.message} (crash {self._crashes} of this plugin)", hint=error.hint)

    # ------------------------------------------------------------------------------------------- starts and restarts

    async def _up(self, deadline: float | None) -> PluginInstance:
        """The running instance. Raises why there is none, at the latest at *deadline* (of the loop's clock)."""
        loop = asyncio.get_running_loop()
        while True:
            if self._closing is not None:
                raise self._stopped()
            if self._instance is not None:
                if (loss := self._instance.loss) is None:
                    return self._instance
                self._lose(self._instance, PluginCrashed(f"{self._name} {loss}"))
            if self._is_given_up:
                raise self._given_up()
            if self._starting is None and deadline is not None and self._not_before > deadline:
                raise self._not_yet(self._not_before - loop.time())
            try:
                async with asyncio.timeout_at(deadline):
                    # Shielded: others may wait for the same start, and `close` ends it.
                    return await asyncio.shield(self._begin_start())
            except TimeoutError:
                raise CallTimeout(
                    f"{self._name} did not come up in time for this call",
                    hint="a slow plugin needs a longer call timeout",
                ) from None
            except PluginError as error:
                if self._starts == 0 or isinstance(error, _FINAL):
                    raise
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling() or self.state is not PluginState.CLOSED:
                    raise
                raise self._stopped() from None  # it is the start that was cancelled, by `close`

    def _stopped(self) -> PluginError:
        return PluginError(f"{self._name} is stopped")

    def _begin_start(self) -> asyncio.Task[PluginInstance]:
        if self._starting is None:
            self._starting = asyncio.create_task(self._bring_up())
            self._starting.add_done_callback(self._start_ended)
        return self._starting

    def _start_ended(self, task: asyncio.Task[PluginInstance]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()  # looked at: everybody who waited may have gone

    async def _bring_up(self) -> PluginInstance:
        if self._retiring is not None:
            await self._retiring
        await asyncio.sleep(max(0.0, self._not_before - asyncio.get_running_loop().time()))
        try:
            instance = await self._start_configured()
        except InjectorError as error:
            self._failed_starts += 1
            self._last_error = error
            self._set_pause()
            raise
        self._instance = instance
        self._name, self._limits = instance.name, instance.limits
        self._up_since = asyncio.get_running_loop().time()
        self._started_at = time.time()
        self._starts += 1
        if self._starts > 1:
            self._log.info("plugin restarted", plugin=self._name, crashes=self._crashes)
        if self._polling is None and self._policy.health_interval is not None:
            self._polling = asyncio.create_task(self._poll(self._policy.health_interval))
        return instance

    async def _start_configured(self) -> PluginInstance:
        instance = await self._start()
        try:
            for configure in self.configure:
                await configure(instance)
        except BaseException:
            await instance.close()
            raise
        return instance

    def _lose(self, instance: PluginInstance, error: InjectorError) -> None:
        """The instance is of no use any more. Heard of by each of its calls, it counts once."""
        if instance is not self._instance:
            return
        self._instance = None
        self._crashes += 1
        self._last_error = error
        self._lost_at = time.time()
        if asyncio.get_running_loop().time() - self._up_since >= self._policy.healthy_after:
            self._row = 0
        self._set_pause()
        self._log.warning("plugin lost", plugin=self._name, reason=error.message, crashes=self._crashes)
        # None is under way: there is one instance at a time, and its successor waits for this.
        self._retiring = asyncio.create_task(instance.close())

    def _set_pause(self) -> None:
        self._row += 1
        pause = 0.0
        if self._row > 1:
            import random  # late: start-up

            # The exponent has a bound, or a year of failures would overflow a float.
            ceiling = min(self._policy.longest_pause, self._policy.first_pause * 2 ** min(self._row - 2, 30))
            pause = random.uniform(0, ceiling)  # noqa: S311  # full jitter, no cryptography
        self._not_before = asyncio.get_running_loop().time() + pause

    @property
    def _is_given_up(self) -> bool:
        most = self._policy.most_restarts
        return most is not None and self._row > most and self._starts > 0

    def _given_up(self) -> PluginKeepsCrashing:
        failed = f", and {_times(self._failed_starts)} it did not start again" if self._failed_starts else ""
        last = f"; the last time: {self._last_error.message}" if self._last_error else ""
        return PluginKeepsCrashing(
            f"{self._name} crashed {_times(self._crashes)}{failed}; it is not restarted any more{last}",
            hint="run it again with -vv to see all that it writes",
        )

    def _not_yet(self, seconds: float) -> PluginKeepsCrashing:
        last = self._last_error.message if self._last_error else "it was lost"
        return PluginKeepsCrashing(f"{self._name} is down, and the next attempt is due in {seconds:.0f} s: {last}")

    # ------------------------------------------------------------------------------------------------------- health

    async def _poll(self, interval: float) -> None:
        misses = 0
        while True:
            await asyncio.sleep(interval)
            instance = self._instance
            if instance is None or instance.loss is not None:
                misses = 0
                await self._revive()
            elif await instance.check_health(within=self._policy.health_timeout):
                misses = 0
            elif instance.loss is None:
                misses += 1
                self._log.warning("plugin missed a health check", plugin=self._name, misses=misses)
                if misses >= self._policy.most_misses:
                    misses = 0
                    self._kill_hung(instance)
                    await self._revive()

    def _kill_hung(self, instance: PluginInstance) -> None:
        self._hung = instance
        policy = self._policy
        reason = f"did not pass {policy.most_misses} health checks of {policy.health_timeout:g} s, and was killed"
        self._lose(
            instance, PluginCrashed(f"{self._name} {reason}", hint="run it again with -vv to see all that it writes")
        )

    async def _revive(self) -> None:
        try:
            await self._up(None)
        except InjectorError as error:
            self._log.warning("plugin does not come up", plugin=self._name, reason=error.message)

    async def _close(self) -> None:
        for task in (self._polling, self._starting):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        instance, self._instance = self._instance, None
        if instance is not None:
            await instance.close()
        if self._retiring is not None:
            await asyncio.gather(self._retiring, return_exceptions=True)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
