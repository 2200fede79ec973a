"""
Writes docs/screens/ui-*.png: the page of `injector ui` over a sidecar that works, and over one whose store is down.

    python -m tools.ui_screens

A Parameter Store (moto's server), a sidecar, the page and a headless Chromium run for two minutes: the chart shows
what has happened. Everything runs in a directory of its own, under relative paths, so that no picture has one of this
machine.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.ui_in_browser import Page, Program, emulate, eventually, missing_browser, start_browser

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

ROOT = Path(__file__).resolve().parent.parent
SCREENS = ROOT / "docs" / "screens"
LARGEST = 150_000  # bytes of a picture
QUIET, DOWN = 45, 15  # seconds with and without the store
APPLICATION = "import signal\nsignal.signal(signal.SIGHUP, lambda *_: None)\nwhile True:\n    signal.pause()"
TEMPLATES = {
    "app/application.yml": "user: AWSPARAMSTR:///shop/db|user\npassword: AWSPARAMSTR:///shop/db|password\n",
    "app/features.json": '{"key": "AWSPARAMSTR:///shop/key"}\n',
    "nginx/upstreams.conf": "set $key AWSPARAMSTR:///shop/key;\n",
    "nginx/tls/server.pem": "AWSPARAMSTR:///shop/tls",
    "jobs/nightly.env": "KEY=AWSPARAMSTR:///shop/key\nTOKEN=AWSPARAMSTR:///shop/mail\n",
    "motd.txt": "Welcome\n",
}
VALUES = {
    "/shop/db": '{"user": "shop", "password": "example"}',
    "/shop/key": "example",
    "/shop/tls": "example",
    "/shop/mail": "example",
}
CONNECTIONS = {
    "prod-eu": ("AWSPARAMSTR", {"region": "eu-west-1", "accessKeyId": "AKIAEXAMPLE"}, "secretAccessKey"),
    "prod-us": ("AWSPARAMSTR", {"region": "us-east-1", "roleArn": "arn:aws:iam::111122223333:role/shop"}, ""),
    "vault-stage": ("VAULT", {"address": "https://vault.stage.example:8200", "namespace": "shop"}, "token"),
}


class Screens:
    """The browser with the page, and where its pictures go."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def sees(self, text: str) -> None:
        """Waits for a text."""
        eventually(text, lambda: text in self.browser.execute_script("return document.body.innerText"))

    def clicks(self, name: str) -> None:
        """Clicks what is called so."""
        find = (
            "return [...document.querySelectorAll('a, button')].find((each) => each.innerText.trim() === arguments[0])"
        )
        found = eventually(name, lambda: self.browser.execute_script(find, name))
        self.browser.execute_script("arguments[0].click()", found)  # without a pointer that stays there

    def fills(self, element: str, text: str) -> None:
        """Types into an input."""
        self.browser.find_element("id", element).send_keys(text)

    def write(self, name: str, *, width: int = 1280, height: int = 0, dark: bool = False, scale: float = 1) -> None:
        """The picture `ui-NAME.png` of the page from its top: all of it, or *height* CSS pixels."""
        emulate(self.browser, width=width, height=height or 900, dark=dark, scale=scale)
        time.sleep(1.5)  # the chart is drawn anew for the width
        whole = self.browser.execute_script(
            "return document.querySelector('main').getBoundingClientRect().bottom + scrollY"
        )
        area = {"x": 0, "y": 0, "width": width, "height": height or whole - 40, "scale": 1}
        shot = {"format": "png", "captureBeyondViewport": True, "clip": area}
        picture = base64.b64decode(self.browser.execute_cdp_cmd("Page.captureScreenshot", shot)["data"])
        assert len(picture) <= LARGEST, f"{name}: {len(picture)} bytes"
        (SCREENS / f"ui-{name}.png").write_bytes(picture)
        print(f"ui-{name}.png: {len(picture):,} bytes")


def connections(here: Path) -> None:
    """A store with those of `CONNECTIONS`."""
    from injector.connections.store import ConnectionStore
    from injector.model.secret import Secret

    store = ConnectionStore(here / "connections.db", here / "master.key")
    for name, (prefix, settings, secret) in CONNECTIONS.items():
        store.add(name, prefix, settings, {secret: Secret(b"example")} if secret else {})


def begin(here: Path, stack: ExitStack) -> tuple[Any, Page]:
    """The store, the sidecar and the page; all end with *stack*."""
    sys.path.insert(0, str(ROOT / "examples"))
    from demo import CREDENTIALS
    from demo_sidecar import Store

    store = Store()
    stack.callback(store.stop)
    fill(store)
    for name, text in TEMPLATES.items():
        path = here / "templates" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    connections(here)
    run = ("run", "templates", "--output-dir", "config", "--control", "control", "--refresh", "6s")
    where = {**CREDENTIALS, "AWS_ENDPOINT_URL_SSM": store.endpoint}
    sidecar = Program("run", here, *run, "--notify", f"signal:HUP:{here}/nginx.pid", **where)
    stack.callback(sidecar.stop)
    application = subprocess.Popen([sys.executable, "-c", APPLICATION])
    stack.callback(application.wait)
    stack.callback(application.kill)
    (here / "nginx.pid").write_text(f"{application.pid}\n")
    sidecar.waits_for("the control socket", (here / "control").exists)
    kept = ("--connections-store", "connections.db", "--master-key-file", "master.key")
    page = Page(here, "--control", "control", *kept)
    stack.callback(page.stop)
    return store, page


def fill(store: Any) -> None:
    """Starts the store with its values: it forgets them when it is stopped."""
    store.start()
    for name, value in VALUES.items():
        store.put(name, value)


def take(screens: Screens, store: Any, page: Page) -> None:
    """All pictures."""
    screens.browser.get(page.address)
    screens.sees("all as they should be")
    time.sleep(QUIET)
    store.stop()
    time.sleep(DOWN)
    fill(store)
    screens.sees("all as they should be")
    time.sleep(QUIET)
    screens.write("sidecar-light")
    screens.write("sidecar-dark", dark=True)
    screens.write("phone", width=360, height=1180, scale=1.5)
    screens.clicks("Connections")
    screens.sees("vault-stage")
    screens.write("connections", height=470)
    screens.clicks("Add connection")
    for element, text in (("add-name", "prod-ap"), ("add-prefix", "AWSPARAMSTR")):
        screens.fills(element, text)
    for field, text in zip(
        screens.browser.find_elements("css selector", "#add-dialog .row input"), FIELDS, strict=True
    ):
        field.send_keys(text)
    screens.write("add", height=760)
    screens.clicks("Cancel")
    screens.clicks("Sidecar")
    store.stop()
    screens.sees("Ready, 5 files stale")
    screens.browser.execute_script("document.querySelector('.expander').click()")
    screens.write("error", height=860)


FIELDS = ("region", "ap-south-1", "secretAccessKey", "example")


def main() -> int:
    """Writes all pictures; 1 when there is no browser."""
    if reason := missing_browser():
        print(reason, file=sys.stderr)
        return 1
    SCREENS.mkdir(exist_ok=True)
    with ExitStack() as stack:
        here = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ui-", ignore_cleanup_errors=True)))
        store, page = begin(here, stack)
        browser = start_browser(here / "profile")
        stack.callback(browser.quit)
        take(Screens(browser), store, page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
