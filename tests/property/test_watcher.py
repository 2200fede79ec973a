"""Whatever is done to a tree, in whichever order and speed: what was read at the last call is what is there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from injector.telemetry.logs import Log
from injector.telemetry.meter import Meter
from injector.telemetry.vitals import Vitals
from injector.watch.watcher import Watcher

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")
GENEROUS = 60.0
_NAMES = ["a", "b", "d", "d/a", "d/e", "d/e/a", "f/g", "f/g/h"]
_INSIDE = st.sampled_from([f"in/{name}" for name in _NAMES])
_PLACE = st.sampled_from(["in", *(f"in/{name}" for name in _NAMES), *(f"out/{name}" for name in _NAMES)])
_TARGET = st.sampled_from(["../out/a", "../out/d", "../../out/d/e", "a", "d", "..", "nowhere"])
_CONTENT = st.sampled_from(["x", "y", "longer"])


def read(path, seen=()):
    """What a reader finds: links followed, names that begin with `..` passed over."""
    place = os.path.realpath(path)
    if os.path.isdir(place):
        if place in seen:
            return "circle"
        with contextlib.suppress(OSError):
            names = [name for name in os.listdir(place) if not name.startswith("..")]
            return {name: read(os.path.join(place, name), (*seen, place)) for name in names}
    with contextlib.suppress(OSError):
        return Path(place).read_text()
    return None


class Tree(RuleBasedStateMachine):
    """A tree in which anything may happen, and a watcher that has no rescan to lean on."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.generation = 0
        self.read = None
        self.loop = asyncio.new_event_loop()
        watcher = Watcher(
            [self.root / "in", self.root / "in" / "d" / "a"],
            lambda _: self._look(),
            rescan=3600,
            log=Log(),
            meter=Meter(),
            vitals=Vitals(),
        )
        self.task = self.loop.create_task(watcher.run())

    def _look(self):
        self.read = read(self.root / "in")

    @rule(place=_PLACE, content=_CONTENT)
    def write(self, place, content):
        with contextlib.suppress(OSError):
            (self.root / place).parent.mkdir(parents=True, exist_ok=True)
            (self.root / place).write_text(content)

    @rule(place=_PLACE)
    def make_a_directory(self, place):
        with contextlib.suppress(OSError):
            (self.root / place).mkdir(parents=True)

    @rule(place=_PLACE)
    def remove(self, place):
        with contextlib.suppress(OSError):
            path = self.root / place
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    @rule(before=_PLACE, after=_PLACE)
    def rename(self, before, after):
        with contextlib.suppress(OSError):
            (self.root / before).rename(self.root / after)

    @rule(place=_INSIDE, to=_TARGET)
    def link(self, place, to):
        with contextlib.suppress(OSError):
            (self.root / place).symlink_to(to)

    @rule(place=st.sampled_from(["in", "in/d", "in/f"]), content=_CONTENT)
    def switch_as_the_kubelet_does(self, place, content):
        mount = self.root / place
        self.generation += 1
        with contextlib.suppress(OSError):
            (mount / f"..{self.generation}").mkdir(parents=True)
            (mount / f"..{self.generation}" / "m").write_text(content)
            (mount / "..data_tmp").symlink_to(f"..{self.generation}")
            old = os.readlink(mount / "..data") if (mount / "..data").is_symlink() else None
            (mount / "..data_tmp").rename(mount / "..data")
            if not (mount / "m").is_symlink():
                (mount / "m").symlink_to("..data/m")
            if old is not None:
                shutil.rmtree(mount / old)

    @rule(rounds=st.integers(1, 20))
    def let_it_work(self, rounds):
        for _ in range(rounds):
            self.loop.run_until_complete(asyncio.sleep(0.001))

    @rule()
    def the_last_change_is_always_seen(self):
        deadline = time.monotonic() + GENEROUS
        while self.read != read(self.root / "in"):
            assert not self.task.done(), self.task
            assert time.monotonic() < deadline, (self.read, read(self.root / "in"))
            self.loop.run_until_complete(asyncio.sleep(0.005))

    def teardown(self):
        try:
            self.loop.run_until_complete(asyncio.sleep(0))
            self.the_last_change_is_always_seen()
        finally:
            self.task.cancel()
            self.loop.run_until_complete(asyncio.gather(self.task, return_exceptions=True))
            self.loop.close()
            shutil.rmtree(self.root)


TestTree = Tree.TestCase
TestTree.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
