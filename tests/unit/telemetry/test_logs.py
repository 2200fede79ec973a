"""A log whose stream fails costs its lines, not the work."""

from __future__ import annotations

import contextlib
import io
import os
import sys

import pytest

from injector.telemetry.logs import Level, Log


@pytest.mark.fault(75, "a full disk, a closed pipe or a closed standard error costs log lines and nothing else")
@pytest.mark.parametrize("kind", ["full", "pipe", "closed", "none"])
def test_a_stream_that_fails_is_survived(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "full":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, descriptor = os.pipe()
        os.close(reading)
    written = False
    with contextlib.suppress(OSError), os.fdopen(descriptor, "w") as stream:
        if kind == "closed":
            stream.close()
        if kind == "none":
            monkeypatch.setattr(sys, "stderr", None)
        log = Log(Level.INFO, stream=None if kind == "none" else stream)
        for _ in range(3):
            log.info("rendered", file="x" * 10_000)
        written = True
    assert written


def test_lines_come_again_when_the_disk_has_room() -> None:
    class Disk(io.StringIO):
        is_full = True

        def write(self, text: str) -> int:
            if self.is_full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    disk = Disk()
    log = Log(Level.INFO, stream=disk)
    log.info("lost")
    disk.is_full = False
    log.info("found")
    assert "found" in disk.getvalue()
    assert "lost" not in disk.getvalue()
