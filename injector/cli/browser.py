"""Opens an address in the user's browser, without telling it to whoever looks at command lines."""

from __future__ import annotations

import contextlib
import html
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PAGE = """<!DOCTYPE html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0;url={address}">
<title>injector</title>
<p><a href="{address}">injector ui</a></p>
"""


def has_browser() -> bool:
    """Whether a browser could show itself. One that runs in the terminal is used only if BROWSER names it."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")))


@contextlib.contextmanager
def opened(address: str, failed: Callable[[], None]) -> Iterator[None]:
    """
    Opens *address*; *failed* is called, on another thread, when there is no browser that can be started.

    A browser is started with what it opens in its arguments, which every user of the machine can read: so that is a
    file that only this user can, and it leads to the address. It is gone at the end of the context.
    """
    with tempfile.TemporaryDirectory(prefix="injector-ui-", dir=_runtime_directory()) as directory:
        file = Path(directory, "open.html")
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(_PAGE.format(address=html.escape(address)))
        # On a thread that keeps nothing from ending: some browsers are waited for.
        threading.Thread(target=_open, args=(file.as_uri(), failed), daemon=True, name="browser").start()
        yield


def _runtime_directory() -> str | None:
    directory = os.environ.get("XDG_RUNTIME_DIR")
    return directory if directory and os.access(directory, os.W_OK) else None


def _open(address: str, failed: Callable[[], None]) -> None:
    import webbrowser  # late: start-up

    if not webbrowser.open(address):
        failed()
