"""The webhook's process: certificate, listener, and an end in good order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING, Final

from injector.errors import CertificateInvalid, ClusterError, UsageError
from injector.listener.http import Listener
from injector.notify.threads import in_thread
from injector.process import collection
from injector.process.termination import was_noted
from injector.telemetry.admission_metrics import AdmissionMetrics
from injector.webhook.application import application
from injector.webhook.serving_certificate import ServingCertificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from injector.telemetry.logs import Log
    from injector.webhook.defaults import Defaults
    from injector.webhook.sources import CertificateSource, Pair

SETTLING: Final = 5.0
"""Seconds from a new authority in the configuration to the certificate being served: API servers watch it, and lag."""

_FIRST_RETRY: Final = 1.0
_GRACE: Final = 4.0  # for requests that are here; a pod has 30 s, and others wait for its end


async def serve(
    source: CertificateSource,
    defaults: Defaults,
    log: Log,
    *,
    host: str,
    port: int,
    interval: float,
    delay: float,
    settling: float = SETTLING,
) -> None:
    """
    Serves until SIGTERM or SIGINT, and *delay* after it. *interval* is how often the *source* is looked at. Seconds.

    Raises UsageError when the address is not to be had.
    """
    certificate, metrics = ServingCertificate(), AdmissionMetrics()

    def is_ready() -> bool:
        return certificate.not_after is not None and time.time() < certificate.not_after and not stop.is_set()

    stop = asyncio.Event()
    listener = Listener(application(defaults, metrics, log, is_ready=is_ready), host, port, certificate.context, log)
    renewal = _Renewal(source, certificate, metrics, log, interval, settling)
    with _signals(stop):
        looking = asyncio.create_task(renewal.run())
        try:
            try:
                bound = await listener.start()
            except OSError as error:
                reason = (error.strerror or "unknown reason").lower()
                raise UsageError(f"--listen: the address cannot be used: {reason}") from None
            log.info("listening", host=host, port=bound)
            collection.settle()
            await _first_of(stop, looking)
            log.info("ending", seconds=delay)
            await asyncio.sleep(delay)  # reviews still come until all API servers know
        finally:
            await listener.stop(_GRACE)
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
    log.info("ended")


async def _first_of(stop: asyncio.Event, looking: asyncio.Task[None]) -> None:
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([stopping, looking], return_when=asyncio.FIRST_COMPLETED)
        if looking.done():
            looking.result()  # raises; it does not end by itself
    finally:
        stopping.cancel()


class _Renewal:
    """Looks for another certificate from time to time, and serves it."""

    def __init__(
        self,
        source: CertificateSource,
        certificate: ServingCertificate,
        metrics: AdmissionMetrics,
        log: Log,
        interval: float,
        settling: float,
    ) -> None:
        self._source = source
        self._certificate = certificate
        self._metrics = metrics
        self._log = log
        self._interval = interval
        self._settling = settling
        self._served: Pair | None = None
        self._complained = ""

    async def run(self) -> None:
        while True:
            try:
                await self._look()
            except (CertificateInvalid, ClusterError) as error:
                self._complain(error)
            await asyncio.sleep(self._interval if self._served else min(self._interval, _FIRST_RETRY))

    async def _look(self) -> None:
        pair = await in_thread(self._source.look)
        if pair == self._served:
            self._complained = ""
            return
        if self._served is not None and pair.is_new_authority:
            await asyncio.sleep(self._settling)
        self._certificate.replace(pair.certificate, pair.key)
        self._served, self._complained = pair, ""
        self._metrics.certificate("loaded", self._certificate.not_after)
        self._log.info("certificate loaded", not_after=_moment(self._certificate.not_after))

    def _complain(self, error: CertificateInvalid | ClusterError) -> None:
        self._metrics.certificate("failed", self._certificate.not_after)
        if error.message != self._complained:  # once, not at each look
            self._complained = error.message
            hint = {"hint": error.hint} if error.hint else {}
            self._log.warning("no new certificate", reason=error.message, **hint)


def _moment(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds is not None else ""


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    handlers: dict[signal.Signals, Callable[[], object]] = {signal.SIGTERM: stop.set, signal.SIGINT: stop.set}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    if was_noted():  # it came before there was a loop
        stop.set()
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
