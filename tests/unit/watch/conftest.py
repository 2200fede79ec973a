"""A running watcher that remembers what it said, and the kubelet's way of replacing a mount."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import select
import shutil
import time

import pytest

from injector.telemetry.logs import Level, Log
from injector.telemetry.meter import Meter
from injector.telemetry.vitals import Vitals
from injector.watch.watcher import Watcher

GENEROUS = 60.0


class CountingMeter(Meter):
    def __init__(self):
        self.sources = []

    def watched(self, source):
        self.sources.append(source)


class Watching:
    """`changes` are those since the last `forget`."""

    def __init__(self, paths, *, rescan, vitals=None, **options):
        self.changes = []
        self.lines = io.StringIO()
        self.meter = CountingMeter()
        self.vitals = vitals or Vitals()
        self.watcher = Watcher(
            paths,
            self.changes.append,
            rescan=rescan,
            log=Log(Level.DEBUG, stream=self.lines),
            meter=self.meter,
            vitals=self.vitals,
            **options,
        )

    async def until(self, condition):
        deadline = time.monotonic() + GENEROUS
        while not condition():
            assert time.monotonic() < deadline, f"not within {GENEROUS} s; {self.changes=} {self.lines.getvalue()}"
            await asyncio.sleep(0.005)

    async def changed(self):
        """Waits for a change, then until there is no more of them, and forgets them."""
        await self.until(lambda: self.changes)
        return await self.quiet()

    async def quiet(self):
        """Everything that was said until nothing is said any more, and no event is left that it pauses before."""
        seen = -1
        while seen != len(self.changes) or self._has_events():
            seen = len(self.changes)
            await asyncio.sleep(0.1)
        changes = list(self.changes)
        self.changes.clear()
        return changes

    def _has_events(self):
        inotify = self.watcher._inotify
        return inotify is not None and bool(select.select([inotify], [], [], 0)[0])


@pytest.fixture
def watching():
    """`async with watching([path, …]) as seen`: it is watched when the block begins. No rescan unless asked for."""

    @contextlib.asynccontextmanager
    async def start(paths, *, rescan=3600.0, **options):
        seen = Watching(paths, rescan=rescan, **options)
        task = asyncio.ensure_future(seen.watcher.run())
        try:
            await seen.changed()
            yield seen
            assert not task.done(), task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    return start


def swap(mount, contents):
    """The next generation of *mount*, in the kubelet's order (kubernetes, atomic_writer.go)."""
    generation = mount / f"..{time.monotonic_ns()}"
    generation.mkdir()
    for name, content in contents.items():
        (generation / name).write_text(content)
    old = os.readlink(mount / "..data") if (mount / "..data").is_symlink() else None
    (mount / "..data_tmp").symlink_to(generation.name)
    (mount / "..data_tmp").rename(mount / "..data")
    for name in contents:
        with contextlib.suppress(FileExistsError):
            (mount / name).symlink_to(f"..data/{name}")
    for link in mount.iterdir():
        if not link.name.startswith("..") and link.name not in contents:
            link.unlink()
    if old is not None:
        shutil.rmtree(mount / old)


@pytest.fixture
def mount(tmp_path):
    path = tmp_path / "mount"
    path.mkdir()
    swap(path, {"a": "0", "b": "0"})
    return path


@pytest.fixture(name="swap")
def _swap():
    return swap
