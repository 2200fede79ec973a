"""`injector ui` as a process, and a client that is a browser as far as headers go."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INJECTOR = Path(sys.executable).with_name("injector")
PATIENCE = 90.0


def until(look: Callable[[], Any], what: str) -> Any:
    """What *look* gives as soon as it is something."""
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.05)
    return found


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of the error."""
        return self.json["error"]["code"]


class Ui:
    """A process; `url` is the address that it printed, with the token."""

    def __init__(self, home: Path, *flags: str, **environment: str) -> None:
        home.mkdir(exist_ok=True)
        self.home = home
        self.log = home / "ui.log"
        variables = {"PATH": os.environ["PATH"], "HOME": str(home), **environment}
        command = [INJECTOR, "ui", "--format", "json", "-v", *flags]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=variables, cwd=home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.url: str = json.loads(line)["url"]
        address, _, self.token = self.url.partition("/#token=")
        self.origin = address
        self.host = address.removeprefix("http://")
        self.port = int(address.rpartition(":")[2])
        self.cookie = self.csrf = ""

    def ask(self, method: str, path: str, body: object = None, **headers: str | None) -> Answer:
        """
        A request as the page makes it. *body* is sent as it is when it is bytes, else as JSON. Headers are given with
        underscores; None leaves one away that would be sent.
        """
        given: dict[str, str | None] = {"Origin": None if method in ("GET", "HEAD") else self.origin}
        given |= {"Cookie": self.cookie or None, "X-CSRF-Token": self.csrf or None, "Sec-Fetch-Site": "same-origin"}
        if body is not None:
            given["Content-Type"] = "application/json"
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, data, {name: value for name, value in given.items() if value is not None})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def sign_in(self, token: str | None = None) -> None:
        answer = self.ask("POST", "/api/session", {"token": token or self.token})
        assert answer.status == 200, answer
        self.csrf = answer.json["csrf"]
        self.cookie = answer.headers["set-cookie"].partition(";")[0]

    def signed_out(self) -> Ui:
        """The same process for somebody who is not signed in."""
        other = object.__new__(Ui)
        other.__dict__ = self.__dict__ | {"cookie": "", "csrf": ""}
        return other

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it; the exit code. What it printed beside the address is in `rest`."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.rest = self.process.stdout.read()
        self.process.stdout.close()
        return code


@contextlib.contextmanager
def running_ui(home: Path, *flags: str, **environment: str) -> Iterator[Ui]:
    """`injector ui`, killed at the end if it is still there."""
    ui = Ui(home, *flags, **environment)
    try:
        yield ui
    finally:
        assert ui.process.stdout is not None
        if ui.process.poll() is None:
            ui.process.kill()
        ui.process.wait(PATIENCE)
        ui.process.stdout.close()


@contextlib.contextmanager
def running_sidecar(home: Path, control: Path, *flags: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """`injector run` of the templates in *home*/templates, ready."""
    (home / "templates").mkdir(exist_ok=True)
    command = [INJECTOR, "run", "templates", "--output-dir", "out", "--control", str(control), *flags]
    variables = {"PATH": os.environ["PATH"], "HOME": str(home), **environment}
    with (home / "run.log").open("ab") as log:
        process = subprocess.Popen(command, env=variables, cwd=home, stdin=subprocess.DEVNULL, stderr=log)
    try:
        until(lambda: control.exists() or process.poll() is not None, "the sidecar")
        assert process.poll() is None, (home / "run.log").read_text()
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
