"""
`make demo-sidecar`: the sidecar at work, on this machine, in less than two minutes.

A Parameter Store-compatible server (moto's), a directory that changes as the kubelet changes a mounted ConfigMap
(`..data` swaps), an application that reads its file anew on SIGHUP, and `injector run` as a user starts it. Each step
says what is expected and what was seen; the end is 0 only if all of it held.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo import CREDENTIALS, INJECTOR, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 60.0  # seconds that a step may take on a slow machine
STEPS = 8
APPLICATION = """
import os, signal, sys, time
from pathlib import Path
pid_file, config, seen = map(Path, sys.argv[1:])
def load(number=0, frame=None):
    with seen.open("a") as file:
        file.write(config.read_text().splitlines()[0] + "\\n")
signal.signal(signal.SIGHUP, load)
while not config.exists():
    time.sleep(0.05)
load()
pid_file.write_text(str(os.getpid()))
while True:
    time.sleep(60)
"""


class Wrong(Exception):
    """An expectation that did not hold."""


class Store:
    """A moto server on one port, which can be stopped and started again."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.port, self._server)

    def stop(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait(10)
            self._server = None

    def put(self, name: str, value: str) -> None:
        from botocore.session import Session

        client: Any = Session().create_client(
            "ssm",
            region_name=CREDENTIALS["AWS_REGION"],
            endpoint_url=self.endpoint,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        client.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)


class Mount:
    """A directory as the kubelet mounts a ConfigMap: `name -> ..data/name`, `..data -> ..2026_…`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._generation = 0
        path.mkdir()

    def swap(self, **files: str) -> None:
        """All files of a new generation at once, as the kubelet's atomic writer does it."""
        self._generation += 1
        generation = self.path / f"..2026_11_22_{self._generation:06}"
        generation.mkdir()
        for name, text in files.items():
            (generation / name.replace("_", ".")).write_text(text)
        link = self.path / "..data_tmp"
        link.symlink_to(generation.name)
        link.rename(self.path / "..data")
        for name in (name.replace("_", ".") for name in files):
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")


class Demo:
    """The processes of the demonstration, and what was seen."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.store = Store()
        self.mount = Mount(work / "templates")
        self.out = work / "config"
        self.log = work / "injector.log"
        self.seen = work / "application.log"
        self.sidecar: subprocess.Popen[bytes] | None = None
        self.application: subprocess.Popen[bytes] | None = None
        self.address = ""

    def start(self) -> None:
        pid_file = self.work / "app.pid"
        arguments = ["run", "templates", "--output-dir", "config", "--refresh", "2s"]
        arguments += ["--listen", "127.0.0.1:0", "--notify", f"signal:HUP:{pid_file}"]
        print(f"      $ injector {' '.join(arguments)} &".replace(str(self.work) + "/", ""))
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
        environment = {**kept, **CREDENTIALS, "AWS_ENDPOINT_URL_SSM": self.store.endpoint}
        with self.log.open("wb") as log:
            self.sidecar = subprocess.Popen([INJECTOR, *arguments], cwd=self.work, env=environment, stderr=log)
        command = [sys.executable, "-c", APPLICATION, pid_file, self.out / "application.yml", self.seen]
        self.application = subprocess.Popen(command)
        self.address = until("it serves", lambda: re.search(r"address=(127\S+)", self.log.read_text()))[1]
        until("the application is up", pid_file.exists)

    def stop(self) -> None:
        for process in (self.sidecar, self.application):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(10)
        self.store.stop()

    def content(self, name: str = "application.yml") -> str:
        path = self.out / name
        return path.read_text() if path.exists() else ""

    def told(self) -> list[str]:
        """What the application has read, each time that it was told to."""
        return self.seen.read_text().splitlines() if self.seen.exists() else []

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def state(self) -> dict[str, Any]:
        """What `/status` says of application.yml."""
        files = json.loads(self.get("/status")[1])["files"]
        return next((file for file in files if file["output"] == "application.yml"), {})


def main() -> int:
    with ExitStack() as stack:
        demo = Demo(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="injector-sidecar-"))))
        stack.callback(demo.stop)
        try:
            run(demo)
        except Wrong as error:
            print(f"\nNOT AS EXPECTED: {error}\n\nthe sidecar's log:\n{demo.log.read_text()}", file=sys.stderr)
            return 1
    print("\nDone: every expectation held. docs/sidecar.md goes on from here.")
    return 0


def run(demo: Demo) -> None:
    step(1, "a Parameter Store (moto's server), and templates as the kubelet mounts them")
    demo.store.start()
    demo.store.put("/shop/db", '{"password": "spring-4711"}')
    demo.mount.swap(application_yml="password: AWSPARAMSTR:///shop/db|password\n")
    print("      templates/application.yml -> ..data/application.yml: password: AWSPARAMSTR:///shop/db|password")

    step(2, "the sidecar, and an application that waits for its file")
    demo.start()
    until("the first file", lambda: demo.content() == "password: spring-4711\n")
    show("config/application.yml", demo.content())
    until("/readyz says 200", lambda: demo.get("/readyz")[0] == 200)
    show("/readyz", "200 " + demo.get("/readyz")[1])

    step(3, "the value changes in the store: after the refresh in the file, and the application is told (SIGHUP)")
    demo.store.put("/shop/db", '{"password": "summer-4712"}')
    until("the new value", lambda: demo.content() == "password: summer-4712\n")
    until("the application has read it", lambda: demo.told() == ["password: spring-4711", "password: summer-4712"])
    show("config/application.yml", demo.content())
    show("the application read", demo.told()[-1])

    step(4, "the ConfigMap changes: a swap of ..data, with a second file")
    before = time.monotonic()
    demo.mount.swap(
        application_yml="password: AWSPARAMSTR:///shop/db|password\nmode: fast\n",
        extra_conf="key=AWSPARAMSTR:///shop/db|password\n",
    )
    until("the new template", lambda: demo.content() == "password: summer-4712\nmode: fast\n")
    until("the second file", lambda: demo.content("extra.conf") == "key=summer-4712\n")
    show("config/application.yml", demo.content())
    show("config/extra.conf", demo.content("extra.conf"))
    print(f"      seen after {time.monotonic() - before:.2f} s")

    step(5, "the store goes away: the files stay, and are marked stale")
    demo.store.stop()
    until("stale", lambda: demo.state().get("state") == "stale")
    expect(demo.content() == "password: summer-4712\nmode: fast\n", "the last good file stays")
    show("config/application.yml", demo.content())
    show("/readyz", f"{demo.get('/readyz')[0]} (without maxStale, a stale file is a good file)")
    show("/status", f"state={demo.state()['state']} error={demo.state()['error']}")

    step(6, "the store comes back with a new value")
    demo.store.start()
    demo.store.put("/shop/db", '{"password": "autumn-4713"}')
    until("the newest value", lambda: demo.content().startswith("password: autumn-4713\n"))
    until("ready again", lambda: demo.state().get("state") == "ready")
    until("the application has read it", lambda: demo.told()[-1:] == ["password: autumn-4713"])
    show("config/application.yml", demo.content())
    show("the application read", demo.told()[-1])

    step(7, "SIGTERM: it ends by itself, cleanly")
    assert demo.sidecar is not None
    before = time.monotonic()
    demo.sidecar.send_signal(signal.SIGTERM)
    code = demo.sidecar.wait(PATIENCE)
    took = time.monotonic() - before
    show("exit code", f"{code} after {took:.2f} s")
    expect(code == 0, "exit code 0")
    expect(took < 5, "within 5 s")
    expect(sorted(path.name for path in demo.out.iterdir()) == ["application.yml", "extra.conf"], "nothing left over")

    step(STEPS, "its log")
    log = demo.log.read_text()
    print("\n".join(f"      {line.partition(' ')[2]}" for line in log.splitlines()))
    for secret in ("spring-4711", "summer-4712", "autumn-4713"):
        expect(secret not in log, "no value is in the log")


def step(number: int, text: str) -> None:
    print(f"\n[{number}/{STEPS}] {text}", flush=True)


def show(what: str, text: str) -> None:
    for line in text.splitlines():
        print(f"      {what:24} {line}", flush=True)


def expect(holds: object, what: str) -> None:
    if not holds:
        raise Wrong(what)


def until(what: str, ask: Callable[[], Any]) -> Any:
    """The first true answer of *ask*."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if answer := ask():
            return answer
        time.sleep(0.05)
    raise Wrong(f"{what}: not within {PATIENCE:g} s")


if __name__ == "__main__":
    sys.exit(main())
