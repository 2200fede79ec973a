"""The process of the page: listener, history, and an end in good order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any, Final

from injector.errors import UsageError
from injector.listener.http import Listener
from injector.process import collection
from injector.process.hardening import watch_loop
from injector.process.termination import was_noted
from injector.web.answers import HEADERS
from injector.web.api import Api
from injector.web.application import application
from injector.web.guards import own_hosts
from injector.web.history import History
from injector.web.looking import SidecarView
from injector.web.page_files import read_page
from injector.web.session import OneTimeToken, Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from injector.telemetry.logs import Log
    from injector.web.sources import ConnectionsSource, SidecarSource

_GRACE: Final = 2.0
_MOST_CONNECTIONS: Final = 100


class Serving:
    """
    The page on the loopback address *host* and *port* (0: a free one). *sidecar* is None when there is none to show;
    it is looked at every *interval* seconds.
    """

    def __init__(
        self,
        sidecar: SidecarSource | None,
        connections: ConnectionsSource,
        log: Log,
        *,
        host: str,
        port: int,
        interval: float,
    ) -> None:
        self._host, self._port = host, port
        self._log = log
        self._token = OneTimeToken()
        self._view = SidecarView(sidecar, log)
        self._history = History(self._view, interval, log)
        self._api = Api(self._token, Sessions(), self._view, self._history, connections, log)

    def new_address(self) -> str:
        """The page's address with a new token; the one before is of no use any more. Call it while `run` serves."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/#token={self._token.issue()}"

    async def run(self, ready: Callable[[Serving], contextlib.AbstractContextManager[None]]) -> None:
        """
        Serves until SIGTERM, SIGINT or SIGHUP; *ready* is entered as soon as it does, and left before the end.

        Raises UsageError when the address is not to be had.
        """
        watch_loop(asyncio.get_running_loop(), self._log.error)
        stop = asyncio.Event()
        guard = application(self._api, read_page())
        listener = Listener(
            guard, self._host, self._port, None, self._log, headers=HEADERS, most_connections=_MOST_CONNECTIONS
        )
        with _signals(stop):
            try:
                self._port = await listener.start()
            except OSError as error:
                reason = (error.strerror or "unknown reason").lower()
                raise UsageError(f"--listen: the address cannot be used: {reason}") from None
            try:
                guard.hosts = own_hosts(self._port)
                self._api.cookie = f"injector_ui_{self._port}"
                self._log.info("listening", host=self._host, port=self._port)
                collection.settle()
                with ready(self):
                    await self._until(stop)
            finally:
                await self._api.close()
                await listener.stop(_GRACE)
        self._log.info("ended")

    async def _until(self, stop: asyncio.Event) -> None:
        waiting: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait())]
        sampling = None
        if self._view.is_configured:
            sampling = asyncio.create_task(self._history.run())
            waiting.append(sampling)
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if sampling is not None and sampling.done():
                sampling.result()  # raises; it does not end by itself
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not under nohup
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    if was_noted():  # it came before there was a loop
        stop.set()
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
