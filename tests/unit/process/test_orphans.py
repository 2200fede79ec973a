"""Who reaps whom: orphans are reaped, and nobody's own child is taken from him."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from injector.process import orphans
from injector.process.child import spawn

pytestmark = pytest.mark.anyio


def wait_for_zombie(pid: int) -> None:
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
@pytest.mark.parametrize("by_parent", [False, True])
async def test_a_dead_child_of_ours_keeps_its_exit_status(monkeypatch: pytest.MonkeyPatch, by_parent: bool) -> None:
    if by_parent:  # a kernel that does not list children
        monkeypatch.setattr(orphans, "_children", orphans._children_by_parent)
    child = await spawn([sys.executable, "-c", "raise SystemExit(7)"], env={})
    stranger = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {})
    try:
        for pid in (child.pid, stranger):
            wait_for_zombie(pid)
        assert orphans.reap_orphans() >= 1
        assert not Path(f"/proc/{stranger}").exists()
        assert (await child.wait()).code == 7
    finally:
        await child.stop(0)
