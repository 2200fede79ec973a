"""The process's own beginning and end around `main`; what the console script calls."""

from __future__ import annotations

import os
import sys

from injector.process import collection


def entry() -> None:
    """
    Runs `injector` with the process's arguments, and exits with its code and without the interpreter's clean-up.

    Does not return. All that was opened is closed by then; taking gRPC's libraries apart costs 50 ms of CPU in every
    pod, for nothing.
    """
    collection.rarely()
    from injector.cli.main import main  # late: its imports are most of a short command's time

    code = main()
    for stream in (sys.stdout, sys.stderr):
        # None when the process was started without it; a reader that has gone is told of by `main`.
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue
    os._exit(code)
