"""`injector init`, and the `injector run` after it, as in a pod without native sidecars: the stores are asked once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INJECTOR = Path(sys.executable).with_name("injector")
FAKE_SSM = Path(__file__).with_name("fake_ssm.py")
PATIENCE = 60.0
COMMON = ("templates", "--output-dir", "out", "--handover", "private")
KEYS = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "eu-west-1"}

PLUGIN = f"""#!{sys.executable}
import json, os
from injector.sdk.serving import serve
from injector.sdk.store import Answer, Description, Lease, TokenStore

FOLDER = os.path.dirname(os.path.abspath(__file__))

def note(name, what):
    with open(os.path.join(FOLDER, name), "a") as file:
        file.write(json.dumps(what) + "\\n")

class Store(TokenStore):
    def describe(self):
        return Description(prefixes=("DEMO",), largest_batch=50)

    def resolve(self, references):
        note("asked", sorted(reference.path for reference in references))
        for reference in references:
            seconds = float(reference.path.rpartition("-")[2])
            yield reference, Answer("x", lease=Lease(reference.path, seconds, False))

    def release(self, leases):
        note("released", sorted(leases))

serve(Store(), name="demo", version="1.0.0")
"""


class FakeSsm:
    """fake_ssm.py as a process."""

    def __init__(self, url: str) -> None:
        self.url = url

    def calls(self) -> list[list[Any]]:
        """[operation, names, outcome] of each."""
        with urllib.request.urlopen(f"{self.url}/calls", timeout=PATIENCE) as answer:
            return list(json.load(answer))


class Run:
    """`injector run` as a process, and its log as JSON lines."""

    def __init__(self, here: Path, *arguments: str, **environment: str) -> None:
        self._log = here / "log"
        self.out = here / "out"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [INJECTOR, "run", *(arguments or COMMON)],
                cwd=here,
                stderr=log,
                env={**os.environ, "INJECTOR_LOG_FORMAT": "json", **environment},
            )

    def logged(self, event: str) -> dict[str, Any]:
        """The first entry *event*; waits until it is there."""

        def found() -> list[dict[str, Any]]:
            lines = self._log.read_text().splitlines(keepends=True)
            entries = [json.loads(line) for line in lines if line.endswith("\n")]
            return [entry for entry in entries if entry["event"] == event]

        eventually(lambda: found() or self.process.poll() is not None)
        assert found(), self._log.read_text()
        return found()[0]

    def has(self, name: str, content: str) -> None:
        """Waits until an output has this content."""
        path = self.out / name
        eventually(lambda: path.exists() and path.read_text() == content)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def eventually(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


@pytest.fixture
def run(here: Path) -> Iterator[Callable[..., Run]]:
    running: list[Run] = []

    def start(*arguments: str, **environment: str) -> Run:
        running.append(Run(here, *arguments, **environment))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait(PATIENCE)


@contextlib.contextmanager
def serving() -> Iterator[FakeSsm]:
    with subprocess.Popen([sys.executable, FAKE_SSM], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield FakeSsm(process.stdout.readline().strip())
        finally:
            process.terminate()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "templates").mkdir()
    return tmp_path


@pytest.fixture
def store() -> Iterator[FakeSsm]:
    with serving() as server:
        yield server


@pytest.fixture
def aws(store: FakeSsm) -> dict[str, str]:
    return KEYS | {"AWS_ENDPOINT_URL_SSM": store.url}


def init(here: Path, *arguments: str, **environment: str) -> str:
    """Its log; it has succeeded."""
    done = subprocess.run(
        [INJECTOR, "init", *(arguments or COMMON)],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def left(here: Path) -> list[str]:
    return sorted(path.name for path in (here / "private").iterdir())


def tokens(here: Path, count: int = 12) -> None:
    for number in range(count):
        (here / "templates" / f"f{number}").write_text(f"AWSPARAMSTR:///p/{number}\n")


def test_the_store_is_asked_once(run: Callable[..., Run], here: Path, store: FakeSsm, aws: dict[str, str]) -> None:
    tokens(here)
    told = init(here, **aws)
    assert "values handed over to the sidecar" in told
    assert left(here) == ["key", "values"]
    assert len(store.calls()) == 2, "12 names, ten in each call"
    one = run(**aws)
    started = one.logged("started")
    assert (started["failed"], started["values"], started["ready"]) == (0, 12, True)
    assert one.logged("values taken over from init")["values"] == 12
    assert (one.out / "f7").read_text() == "value of /p/7\n"
    assert len(store.calls()) == 2
    assert left(here) == []
    assert 0 < started["next_refresh"] <= 300, "the refresh goes on"
    assert "value of" not in told + (here / "log").read_text()


def test_only_what_is_new_is_asked_for(
    run: Callable[..., Run], here: Path, store: FakeSsm, aws: dict[str, str]
) -> None:
    tokens(here)
    init(here, **aws)
    (here / "templates" / "f0").write_text("AWSPARAMSTR:///new AWSPARAMSTR:///p/0\n")
    one = run(**aws)
    one.has("f0", "value of /new value of /p/0\n")
    assert [names for _, names, _ in store.calls()[2:]] == [["/new"]]


def test_without_it_and_after_a_restart_the_store_is_asked(
    run: Callable[..., Run],
    here: Path,
    store: FakeSsm,
    aws: dict[str, str],
) -> None:
    tokens(here, 1)
    init(here, **aws)
    for calls in (1, 2):
        one = run(**aws)
        one.logged("started")
        assert len(store.calls()) == calls
        assert one.stop() == 0
    assert one.logged("nothing was handed over, the stores are asked")


@pytest.mark.parametrize("change", ["damage", "settings"])
def test_one_that_is_not_to_be_trusted_costs_a_line_and_a_call(
    run: Callable[..., Run],
    here: Path,
    store: FakeSsm,
    aws: dict[str, str],
    change: str,
) -> None:
    tokens(here, 1)
    init(here, **aws)
    arguments = COMMON
    if change == "damage":
        (here / "private" / "values").write_bytes(b"\x01" + bytes(100))
        (here / "private" / "values").chmod(0o600)
    else:
        (here / "templates" / "more").mkdir()
        arguments = ("templates", "templates/more", *COMMON[1:])
    one = run(*arguments, **aws)
    line = one.logged("the hand-over is not used, the stores are asked")
    assert line["level"] == "warning"
    assert "changed" in line["reason"]
    assert one.logged("started")["failed"] == 0
    assert len(store.calls()) == 2
    assert left(here) == []


def test_old_values_are_good_enough_while_the_store_is_away(run: Callable[..., Run], here: Path) -> None:
    """The values are due, and their store is gone: the sidecar goes on with them as it would with its own."""
    tokens(here, 1)
    with serving() as store:
        aws = KEYS | {"AWS_ENDPOINT_URL_SSM": store.url}
        init(here, **aws)
    one = run(*COMMON, "--refresh", "1s", **aws)
    assert one.logged("started")["files"] == 1
    assert one.logged("values taken over from init")["values"] == 1
    assert (one.out / "f0").read_text() == "value of /p/0\n"
    assert one.process.poll() is None


@pytest.mark.parametrize("region", ["eu-west-1", "eu-west-2"])
def test_who_asks_as_somebody_else_gets_nothing_of_it(
    run: Callable[..., Run], here: Path, store: FakeSsm, aws: dict[str, str], region: str
) -> None:
    tokens(here, 1)
    init(here, **aws)
    run(**aws | {"AWS_REGION": region}).logged("started")
    assert len(store.calls()) == (1 if region == aws["AWS_REGION"] else 2)


def test_values_of_the_container_itself_are_its_own(run: Callable[..., Run], here: Path) -> None:
    (here / "templates" / "f").write_text("ENV://WHO FILE://who\n")
    (here / "who").write_text("one")
    init(here, WHO="init")
    (here / "who").write_text("two")
    one = run(*COMMON, WHO="run")
    one.has("f", "run two\n")


def test_what_cannot_be_left_is_a_line_of_the_log(here: Path) -> None:
    (here / "templates" / "f").write_text("ENV://HOME\n")
    (here / "private").write_text("in the way")
    assert "nothing is handed over" in init(here)
    assert (here / "out" / "f").exists()


@pytest.mark.parametrize("command", ["init", "run"])
def test_the_output_directory_is_no_place_for_it(here: Path, command: str) -> None:
    done = subprocess.run(
        [INJECTOR, command, "templates", "--output-dir", "out", "--handover", "out/x"],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert "the hand-over lies in the output directory" in done.stderr


class TestLeases:
    """Of a plugin whose every value `/NAME-SECONDS` has a lease for that long."""

    COMMON = (*COMMON, "--plugin-path", "plugins")

    @pytest.fixture
    def notes(self, install: Callable[..., Any], here: Path) -> Callable[[str], list[list[str]]]:
        """What the plugin was told, by the kind of it."""
        install("demo", PLUGIN)

        def read(name: str) -> list[list[str]]:
            path = here / "plugins" / "demo" / name
            return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

        return read

    def test_leases_go_over_to_the_sidecar_and_are_given_back_by_it(
        self, run: Callable[..., Run], here: Path, notes: Callable[[str], list[list[str]]]
    ) -> None:
        for name in ("kept", "dropped", "unused"):
            (here / "templates" / name).write_text(f"DEMO:///{name}-3600\n")
        init(here, *self.COMMON)
        asked = notes("asked")
        assert asked == [["/dropped-3600", "/kept-3600", "/unused-3600"]]
        assert notes("released") == [], "init ends, and its leases go on"
        (here / "templates" / "unused").unlink()
        one = run(*self.COMMON)
        one.logged("started")
        eventually(lambda: notes("released") == [["/unused-3600"]])
        (here / "templates" / "dropped").unlink()
        eventually(lambda: notes("released") == [["/unused-3600"], ["/dropped-3600"]])
        assert one.stop() == 0
        assert notes("released") == [["/unused-3600"], ["/dropped-3600"], ["/kept-3600"]]
        assert notes("asked") == asked

    def test_without_a_hand_over_init_gives_its_leases_back(
        self, here: Path, notes: Callable[[str], list[list[str]]]
    ) -> None:
        (here / "templates" / "f").write_text("DEMO:///a-3600\n")
        init(here, "templates", "--output-dir", "out", "--plugin-path", "plugins")
        assert notes("released") == [["/a-3600"]]


def test_the_setting_may_stand_in_the_file_or_a_variable(here: Path) -> None:
    (here / "templates" / "f").write_text("ENV://HOME\n")
    head = "apiVersion: config-injector.io/v1alpha1\nkind: Injector\n"
    (here / "injector.yaml").write_text(head + "inputs: [templates]\noutputDir: out\nhandover: private\n")
    init(here, "--config", "injector.yaml", INJECTOR_HANDOVER="other")
    assert (here / "other" / "key").exists(), "a variable goes before the file"
    assert not (here / "private").exists()
