"""
WASM plugins as a backend: batches on threads of their own, each with a fresh configured instance.

A call ends at its deadline or when its asker goes away, whatever the guest does. The threads of one backend are its
own, so that the endless loops of one plugin hold up no other; their number times the memory limit bounds the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from injector.backends.contract import Limits
from injector.backends.wasm.deadline import Deadline
from injector.backends.wasm.fates import Fates
from injector.errors import CallTimeout, PluginAnswerInvalid, PluginError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from concurrent.futures import Future

    from injector.backends.contract import Answer
    from injector.backends.wasm.flavour import Flavour, Guest
    from injector.model.references import Reference

_T = TypeVar("_T")

MOST_THREADS: Final = 8
_STACK: Final = 4 << 20  # bytes: a guest that recurses needs its 512 KiB on a thread of ours, and musl gives 128
_GRACE: Final = 2.0  # seconds after the deadline in which a guest is still expected to tell of it itself
_CLOSING: Final = 5.0  # seconds in which cancelled guests are expected to end
_stack_lock = threading.Lock()


class WasmBackend:
    """
    One plugin with one connection; see `contract.Backend`.

    *name* is for messages: `plugin demo (/plugins/demo/demo.wasm)`; *fates* counts what becomes of its instances.
    """

    def __init__(self, name: str, flavour: Flavour, fates: Fates | None = None) -> None:
        self.name = name
        self.fates = fates or Fates(name)
        self.fates.loaded()
        self._flavour = flavour
        self._calls: set[_Call] = set()
        self._closed = False
        self._threads = min(MOST_THREADS, flavour.limits.most_in_flight)
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="wasm")

    @property
    def limits(self) -> Limits:
        limits = self._flavour.limits
        return Limits(limits.largest_batch, self._threads, limits.rate)

    @property
    def calls_under_way(self) -> int:
        """Call batches that run or wait for a thread, abandoned ones as well."""
        return len(self._calls)

    async def fetch(self, references: Sequence[Reference], *, timeout: float) -> AsyncIterator[Answer]:  # noqa: ASYNC109  # the contract's
        """See `contract.Backend.fetch`."""
        asked = list(references)
        if self._closed:
            for reference in asked:
                yield reference, PluginError(f"{self.name} is closed")
            return
        queue: asyncio.Queue[Answer | None] = asyncio.Queue()
        tell = _teller(queue)
        call = self._start(timeout, lambda deadline: self._resolve(asked, deadline, tell), tell)
        try:
            while (answer := await self._next(call, queue)) is not None:
                yield answer
            self._raise(call)
        finally:
            self._leave(call)

    async def call(self, export: str, data: bytes, *, timeout: float) -> bytes:  # noqa: ASYNC109  # the contract's
        """
        What any exported function gives for the input *data*, by a fresh configured instance.

        *timeout* is in seconds from now. Raises InjectorError.
        """
        return await self._by_one_guest(lambda guest: guest.call(export, data), timeout)

    async def connect(self, connection: str, *, timeout: float) -> None:  # noqa: ARG002, ASYNC109  # the contract's
        """
        See `contract.TakesConnections.connect`: a fresh instance is configured, and closed. The connection is the one
        that this backend was made for.
        """
        await self._by_one_guest(lambda _: None, timeout)

    async def _by_one_guest(self, use: Callable[[Guest], _T], timeout: float) -> _T:  # noqa: ASYNC109
        queue: asyncio.Queue[Answer | None] = asyncio.Queue()
        answers: list[_T] = []

        def ask(deadline: Deadline) -> None:
            with self._opened(deadline) as guest:
                answers.append(use(guest))

        call = self._start(timeout, ask, _teller(queue))
        try:
            await self._next(call, queue)
            self._raise(call)
        finally:
            self._leave(call)
        return answers[0]

    @contextlib.contextmanager
    def _opened(self, deadline: Deadline) -> Iterator[Guest]:
        try:
            guest = self._flavour.open(deadline)
        except BaseException as error:
            self.fates.not_opened(error)
            raise
        with guest:
            try:
                yield guest
            finally:
                self.fates.ended(guest.instance.crash)

    def _resolve(self, references: Sequence[Reference], deadline: Deadline, tell: Callable[[Answer], None]) -> None:
        """
        Answers for all, with a new instance where a guest stops before the end, as a reactor does after an error.

        Raises InjectorError for those that are left.
        """
        left = dict.fromkeys(references)
        while left:
            before = len(left)
            with self._opened(deadline) as guest:
                for reference, outcome in guest.answers(list(left)):
                    if reference not in left:
                        raise PluginAnswerInvalid(f"{self.name} answered {reference}, which was not asked")
                    del left[reference]
                    tell((reference, outcome))
            if len(left) == before:
                raise PluginAnswerInvalid(f"{self.name} did not answer for {next(iter(left))}")

    async def close(self) -> None:
        """Ends the calls under way and the threads. A guest that does not end within some seconds is left behind."""
        self._closed = True
        for call in list(self._calls):
            call.deadline.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)
        left = [asyncio.wrap_future(call.future) for call in list(self._calls)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                await asyncio.gather(*left, return_exceptions=True)

    def _start(self, timeout: float, work: Callable[[Deadline], None], tell: Callable[[Answer | None], None]) -> _Call:
        """Puts *work* on a thread; *tell* gets None when it has ended, whatever way."""
        if self._closed:
            raise PluginError(f"{self.name} is closed")
        deadline = Deadline(timeout)

        def run() -> None:
            deadline.check(self.name)
            work(deadline)

        with _stack_lock:
            before = threading.stack_size(_STACK)
            try:
                call = _Call(deadline, self._executor.submit(run))
            finally:
                threading.stack_size(before)
        self._calls.add(call)

        def ended(_: Future[None]) -> None:
            self._calls.discard(call)
            tell(None)

        call.future.add_done_callback(ended)
        return call

    async def _next(self, call: _Call, queue: asyncio.Queue[Answer | None]) -> Answer | None:
        try:
            async with asyncio.timeout(call.deadline.left() + _GRACE):
                return await queue.get()
        except TimeoutError:
            raise CallTimeout(
                f"{self.name} was not done in time: no thread was free for it, or it cannot be stopped",
                hint="raise plugins.callTimeout, or ask for less at once",
            ) from None

    def _raise(self, call: _Call) -> None:
        """What the ended call raised."""
        if call.future.cancelled():
            raise PluginError(f"{self.name} was closed")
        error = call.future.exception()
        if error is not None:
            raise error

    def _leave(self, call: _Call) -> None:
        call.deadline.cancel()
        call.future.cancel()


class _Call(NamedTuple):
    """One call batch: how others end it, and what has become of it."""

    deadline: Deadline
    future: Future[None]


def _teller(queue: asyncio.Queue[Answer | None]) -> Callable[[Answer | None], None]:
    loop = asyncio.get_running_loop()

    def tell(answer: Answer | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            loop.call_soon_threadsafe(queue.put_nowait, answer)

    return tell
