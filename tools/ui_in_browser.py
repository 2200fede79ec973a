"""
A sidecar, the page of `injector ui`, and a browser without a window: for the page's tests and for its screenshots.

Nothing of the caller's environment reaches the programs but what finds them; no proxy is asked for addresses of this
machine.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

INJECTOR = Path(sys.executable).with_name("injector")
PATIENCE = 60.0
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_ADDRESS = re.compile(r"http://\S+/#token=\S+")


def eventually(what: str, ask: Callable[[], Any], *, within: float = PATIENCE) -> Any:
    """The first true answer of *ask*; AssertionError when there is none in *within* seconds."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if answer := ask():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {within:g} s")


class Program:
    """`injector ARGUMENTS`, with files for what it prints; `stop` ends it."""

    def __init__(self, name: str, here: Path, *arguments: str, **environment: str) -> None:
        self.out, self.log = here / f"{name}.out", here / f"{name}.log"
        kept = {key: os.environ[key] for key in ("PATH", "TMPDIR", "LANG") if key in os.environ}
        with self.out.open("wb") as out, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [INJECTOR, *arguments],
                cwd=here,
                env={**kept, "HOME": str(here), **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
            )

    def waits_for(self, what: str, ask: Callable[[], Any], *, within: float = PATIENCE) -> Any:
        """The first true answer of *ask*; AssertionError, with its log, when the program ends before."""

        def asked() -> Any:
            assert self.process.poll() is None, self.log.read_text()
            return ask()

        return eventually(what, asked, within=within)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends it, if it still runs, and gives its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Page(Program):
    """`injector ui` in the directory *here*; `address` is what it has printed."""

    def __init__(self, here: Path, *arguments: str, **environment: str) -> None:
        super().__init__("ui", here, "ui", "--no-browser", "--interval", "1s", *arguments, **environment)
        self.address: str = self.waits_for("the address", self._printed)[0]
        self.origin, _, self.token = self.address.partition("/#token=")

    def _printed(self) -> re.Match[str] | None:
        return _ADDRESS.search(self.out.read_text())


def missing_browser() -> str:
    """Why there can be no browser, or an empty text."""
    if _browser() is None:
        return "needs Chromium: `make browser`, or one of " + ", ".join(_BROWSERS) + " on PATH"
    if shutil.which("chromedriver") is None:
        return "needs chromedriver on PATH: `make browser`, or Debian's chromium-driver"
    return ""


def _browser() -> str | None:
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


def start_browser(profile: Path) -> Chrome:
    """A headless Chromium with its profile in *profile*, which has not to be there; `quit` ends it."""
    options = Options()
    options.binary_location = _browser() or ""
    for switch in ("headless=new", "disable-gpu", "no-first-run", "no-proxy-server", "disable-dev-shm-usage"):
        options.add_argument(f"--{switch}")
    options.add_argument(f"--user-data-dir={profile}")
    options.add_argument("--disable-background-networking")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    kept = {key: os.environ[key] for key in ("PATH", "TMPDIR", "LANG") if key in os.environ}
    service = Service(shutil.which("chromedriver"), env={**kept, "HOME": str(profile.parent), "TZ": "UTC"})
    return Chrome(options=options, service=service)


def emulate(browser: Chrome, *, width: int, height: int, dark: bool = False, scale: float = 1) -> None:
    """A window of *width* x *height* CSS pixels, light or dark, and without motion."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False},
    )
    features = [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
