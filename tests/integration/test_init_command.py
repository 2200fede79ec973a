"""`injector init` as an init container runs it: it waits for what may come, and says why when nothing does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

INJECTOR = Path(sys.executable).with_name("injector")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "eu-west-1"}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "templates").mkdir()
    return tmp_path


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nothing listens for as long as the test lasts."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


def init(here: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [INJECTOR, "init", "templates", "--output-dir", "out", *arguments],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **CREDENTIALS, **environment},
    )


@pytest.mark.fault(58, "`init` waits for a backend that is down and comes up, then writes all files")
def test_a_backend_that_comes_up_later(here: Path, ssm: Any, moto_server: str) -> None:
    ssm.put_parameter(Name="/init/late", Value="there", Type="String", Overwrite=True)
    (here / "templates" / "a").write_text("x=AWSPARAMSTR:///init/late\n")
    host, _, port = moto_server.removeprefix("http://").partition(":")
    with socket.socket() as front:
        front.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{front.getsockname()[1]}"
        process = init(here, AWS_ENDPOINT_URL_SSM=address)
        assert process.stderr is not None
        for line in process.stderr:
            if "not possible yet" in line:
                break
        assert not (here / "out" / "a").exists()
        front.listen()
        threading.Thread(target=_relay, args=(front, host, int(port)), daemon=True).start()
        _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, log
    assert (here / "out" / "a").read_text() == "x=there\n"
    assert "rendered 1 file" in log


def _relay(front: socket.socket, host: str, port: int) -> None:
    while True:
        try:
            client, _ = front.accept()
        except OSError:
            return
        server = socket.create_connection((host, port))
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(65536):
        target.sendall(data)
    target.close()


@pytest.mark.fault(58, "`init` gives up when its time is over: nothing is written, and the exit code tells why")
def test_a_backend_that_stays_down(here: Path, closed_port: int) -> None:
    (here / "templates" / "a").write_text("x=AWSPARAMSTR:///x\n")
    (here / "templates" / "b").write_text("x=ENV://HOME\n")
    process = init(here, "--timeout", "20s", AWS_ENDPOINT_URL_SSM=f"http://127.0.0.1:{closed_port}")
    _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 5, log
    assert "templates/a:1:3: error:" in log
    assert not list((here / "out").glob("*"))


def test_what_does_not_go_away_by_itself_is_not_waited_for(here: Path) -> None:
    (here / "templates" / "a").write_text("x=ENV://NOT_SET_4711\n")
    started = time.monotonic()
    process = init(here, "--timeout", "1h")
    _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4
    assert "trying again" not in log
    assert time.monotonic() - started < PATIENCE


def test_leftovers_of_a_killed_writer_are_swept(here: Path) -> None:
    (here / "templates" / "a").write_text("x=ENV://HOME\n")
    (here / "out").mkdir()
    (here / "out" / ".injector-0123456789abcdef-0.tmp").write_text("half")
    process = init(here)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert [path.name for path in (here / "out").iterdir()] == ["a"]


def test_the_report_for_programs(here: Path) -> None:
    (here / "templates" / "a").write_text("x=ENV://HOME\n")
    process = init(here, "--format", "json")
    output, _ = process.communicate(timeout=PATIENCE)
    report = json.loads(output)
    assert report["files"] == [{"template": "templates/a", "tokens": 1, "output": "out/a", "changed": True}]


def test_sigterm_ends_it_while_it_waits(here: Path, closed_port: int) -> None:
    (here / "templates" / "a").write_text("x=AWSPARAMSTR:///x\n")
    process = init(here, AWS_ENDPOINT_URL_SSM=f"http://127.0.0.1:{closed_port}")
    assert process.stderr is not None
    for line in process.stderr:
        if "not possible yet" in line:
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 143


def test_inputs_and_output_from_the_settings_file(here: Path) -> None:
    (here / "templates" / "a").write_text("x=ENV://HOME\n")
    (here / "injector.yaml").write_text(
        "apiVersion: config-injector.io/v1alpha1\nkind: Injector\ninputs: [templates]\noutputDir: out\n"
    )
    for command in ("init", "render"):
        done = subprocess.run(
            [INJECTOR, command, "--config", here / "injector.yaml"], capture_output=True, check=False, cwd="/"
        )
        assert done.returncode == 0, done.stderr
        assert (here / "out" / "a").exists()
        (here / "out" / "a").unlink()


def test_without_an_output_it_is_wrong_usage(here: Path) -> None:
    done = subprocess.run([INJECTOR, "init", "templates"], cwd=here, capture_output=True, check=False)
    assert done.returncode == 2
