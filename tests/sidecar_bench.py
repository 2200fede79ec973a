"""A sidecar over stores in this process: real templates, real outputs, and a clock that a test moves."""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from waiting import PATIENCE

from injector.app.reconcile.engine import Sidecar
from injector.app.reconcile.request import SidecarRequest
from injector.app.reconcile.sinks import FileSink
from injector.backends.contract import Limits
from injector.errors import InjectorError, ValueNotFound
from injector.model.references import Lease, Value
from injector.model.secret import Secret
from injector.settings.schema import Settings
from injector.telemetry.logs import Level, Log
from injector.telemetry.meter import Meter
from injector.telemetry.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from injector.app.reconcile.request import Result
    from injector.app.status import FileStatus
    from injector.backends.contract import Answer, Outcome
    from injector.model.references import Reference


class FakeClock:
    """
    Time that stands still until a test moves it.

    Work that is under way is let run before and after each move, as long as it takes: `Bench.quiet` says when.
    """

    def __init__(self) -> None:
        self.time = 1_000.0
        self.shift = 1_700_000_000.0
        self.moved = asyncio.Event()

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time + self.shift

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        while not event.is_set() and (until is None or self.time < until):
            waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self.moved.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()


class Store:
    """A store in this process: a backend as the contract has it, whose values and failures a test sets."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008  # frozen
        self.limits = limits
        self.values: dict[str, Outcome | str] = {}
        self.calls: list[list[str]] = []
        self.down: InjectorError | None = None
        self.gate: asyncio.Event | None = None
        self.can_watch = False
        self.watched: list[tuple[Reference, ...]] = []
        self.changes: asyncio.Queue[Reference] = asyncio.Queue()
        self.released: list[str] = []

    @property
    def name(self) -> str:
        return "store of the test"

    def asked(self) -> Counter[str]:
        return Counter(path for call in self.calls for path in call)

    async def fetch(self, references: Sequence[Reference], *, timeout: float) -> AsyncIterator[Answer]:
        self.calls.append([reference.path for reference in references])
        if self.gate is not None:
            await self.gate.wait()
        if self.down is not None:
            raise self.down
        for reference in references:
            yield reference, self._answer(reference)

    def _answer(self, reference: Reference) -> Outcome:
        found = self.values.get(reference.path)
        if found is None:
            return ValueNotFound(f"there is no {reference}")
        return value(found) if isinstance(found, str) else found

    async def watch(self, references: Sequence[Reference]) -> AsyncIterator[Reference]:
        self.watched.append(tuple(references))
        while True:
            yield await self.changes.get()

    async def release(self, leases: Sequence[str], *, connection: str | None = None) -> None:
        self.released += leases

    async def close(self) -> None:
        """Nothing is held."""


def value(text: str, *, ttl: float | None = None, lease: Lease | None = None, version: str | None = None) -> Value:
    return Value(Secret(text.encode()), ttl=ttl, lease=lease, version=version)


class StoreRegistry:
    """What the sidecar needs of a registry, over the stores of a test."""

    def __init__(self, stores: dict[str, Store]) -> None:
        self.stores = stores
        self.broken: dict[str, InjectorError] = {}

    def prefixes(self, candidates: frozenset[str]) -> frozenset[str]:
        return frozenset(self.stores)

    async def open(self, prefix: str, connection: str | None = None) -> Store:
        if prefix in self.broken:
            raise self.broken[prefix]
        return self.stores[prefix]

    def plugins(self) -> tuple[()]:
        return ()


class CountingMeter(Meter):
    def __init__(self) -> None:
        self.events: Counter[tuple[str, ...]] = Counter()

    def rendered(self, file: str, result: str, seconds: float) -> None:
        self.events["rendered", file.rpartition("/")[2], result] += 1

    def fetched(self, backend: str, result: str, seconds: float) -> None:
        self.events["fetched", backend, result] += 1

    def throttled(self, backend: str) -> None:
        self.events["throttled", backend] += 1

    def cached(self, result: str) -> None:
        self.events["cached", result] += 1

    def watched(self, source: str) -> None:
        self.events["watched", source] += 1

    def reloaded(self, result: str) -> None:
        self.events["reloaded", result] += 1


class SpySink(FileSink):
    """Real files; counts, and fails or waits when a test says so."""

    def __init__(self) -> None:
        self.published: Counter[str] = Counter()
        self.failure: InjectorError | None = None
        self.block: Any = None
        self.entered = threading.Event()

    def publish(self, result: Result) -> bool:
        self.published[result.target.name] += 1
        self.entered.set()
        if self.block is not None:
            self.block.wait(PATIENCE)
        if self.failure is not None:
            raise self.failure
        return super().publish(result)

    def publish_many(self, results: Sequence[Result]) -> Sequence[bool]:
        if self.failure is not None:
            raise self.failure
        changed = super().publish_many(results)
        self.published.update(result.target.name for result in results)
        return changed

    def publish_set(self, results: Sequence[Result]) -> bool:
        for result in results:
            self.published[result.target.name] += 1
        if self.failure is not None:
            raise self.failure
        return super().publish_set(results)


class Bench:
    """A sidecar, and everything around it."""

    def __init__(self, tmp_path: Path, stores: dict[str, Store]) -> None:
        self.templates = tmp_path / "templates"
        self.templates.mkdir()
        self.out = tmp_path / "out"
        self.stores = stores
        self.registry = StoreRegistry(stores)
        self.settings = Settings(refresh=300.0, rescan=1_000_000.0)
        self.clock = FakeClock()
        self.meter = CountingMeter()
        self.sink: Any = SpySink()
        self.lines = io.StringIO()
        self.log = Log(Level.INFO, stream=self.lines)
        self.vitals = Vitals(clock=self.clock.now)
        self.published: list[tuple[str, str, str]] = []
        self.load_settings: Callable[[], Settings] | None = None
        self.inputs: tuple[str, ...] = (str(self.templates),)
        self.patience = PATIENCE
        self._sidecar: Sidecar | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def sidecar(self) -> Sidecar:
        assert self._sidecar is not None
        return self._sidecar

    def write(self, name: str, text: str) -> None:
        path = self.templates / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"..{path.name}")  # whole at once, as an editor does it; `..` is passed over
        temporary.write_text(text)
        temporary.rename(path)

    def read(self, name: str) -> str:
        return (self.out / name).read_text()

    async def start(self, *, patience: float = PATIENCE, output: Path | None = None, **options: Any) -> Sidecar:
        """Runs the sidecar until it is quiet."""
        self.patience = patience
        options.setdefault("clock", self.clock)
        self._sidecar = Sidecar(
            SidecarRequest(self.inputs, output_dir=None if output else self.out, output=output),
            self.settings,
            self.registry,  # type: ignore[arg-type]  # as much of one as is needed
            environment={"WHO": "environment"},
            log=self.log,
            meter=self.meter,
            vitals=self.vitals,
            sink=self.sink,
            on_published=lambda template, output, digest: self.published.append((template, output, digest)),
            load_settings=self.load_settings,
            watch=options.pop("watch", False),
            seed=random.Random(1),
            **options,
        )
        self._task = asyncio.create_task(self._sidecar.run())
        await self.quiet()
        return self._sidecar

    async def quiet(self) -> None:
        """Returns when nothing is under way."""
        async with asyncio.timeout(self.patience):
            for _ in range(3):  # what has just ended may be a reason for more
                while not self.is_quiet():
                    self._raise()
                    await asyncio.sleep(0.0005)
                for _ in range(5):
                    await asyncio.sleep(0)

    def is_quiet(self) -> bool:
        return self.sidecar.is_idle

    async def move(self, seconds: float) -> None:
        """Time goes on by *seconds*, in steps: what becomes due on the way happens then."""
        await self.quiet()
        end = self.clock.time + seconds
        while True:
            following = self.sidecar.next_wake
            self.clock.time = min(end, end if following is None else max(self.clock.time, following))
            self.clock.moved.set()
            self.clock.moved = asyncio.Event()
            await self.quiet()
            if self.clock.time >= end:
                return

    async def look(self) -> None:
        self.sidecar.look()
        await self.quiet()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def file(self, name: str) -> FileStatus:
        return next(file for file in self.sidecar.status().files if file.template.endswith(f"/{name}"))

    def _raise(self) -> None:
        if self._task is not None and self._task.done():
            self._task.result()
