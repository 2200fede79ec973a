"""Plugins built with the SDK, driven by HashiCorp's go-plugin as configmanager drives them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from fixtures_processes import ended_by_itself
from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.go

PLUGIN = """
import os, subprocess, sys, threading, time
from injector.sdk.errors import NotFound, Throttled
from injector.sdk.hclog import Logger
from injector.sdk.serving import serve
from injector.sdk.store import LookupStore

log = Logger("demo")
started = threading.Semaphore(0)

class Demo(LookupStore):
    def look_up(self, reference):
        word, _, argument = reference.path.partition(":")
        if word == "missing":
            raise NotFound("kein Wert für » größe «\\nzweite Zeile", hint="créer")
        if word == "long":
            raise NotFound("é" * 100_000)
        if word == "throttled":
            raise Throttled("slow down", retry_after=2.5)
        if word == "boom":
            raise KeyError("secret-in-the-text")
        if word == "binary":
            return b"\\xff\\xfe"
        if word == "text":
            return "größe 値".encode()
        if word == "big":
            return "x" * int(argument)
        if word == "print":
            print("out größe")
            print("err größe", file=sys.stderr)
            subprocess.run(["echo", "from a child"])
        if word == "flood":
            for _ in range(1000):
                print("y" * 1000)
        if word == "log":
            log.warn("hello", count=3, who="größe")
        if word == "env":
            return ",".join(sorted(name for name in os.environ if name.startswith(("PLUGIN_", "CONFIGMANAGER"))))
        if word == "sleep":
            time.sleep(float(argument))
        return f"{reference.path}->{reference.raw_metadata}"

    def close(self):
        log.info("closed")
        if os.environ.get("DEMO_HANGS"):
            time.sleep(60)

serve(Demo(), name="demo", version="1.2.3")
"""


@pytest.fixture
def demo(python_plugin: Callable[..., Path]) -> Path:
    return python_plugin(source=PLUGIN, name="demo")


@pytest.fixture
def drive(go_host: Path, socket_directory: Path) -> Callable[..., dict[str, Any]]:
    """Runs the Go host to its end; its report, with its log lines under "log"."""

    def run(*arguments: object, **environment: str) -> dict[str, Any]:
        done = subprocess.run(
            [go_host, *map(str, arguments)],
            check=False,
            capture_output=True,
            env=os.environ | {"TMPDIR": str(socket_directory)} | environment,
            timeout=60,
        )
        report = json.loads(done.stdout)
        report["log"] = [json.loads(line) for line in done.stderr.decode().splitlines() if line.startswith("{")]
        report["left"] = sorted(path.name for path in socket_directory.iterdir())
        return report

    return run


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until_gone(pid: int) -> None:
    eventually(lambda: not is_alive(pid), "the plugin's end")


@pytest.mark.seed("002:3")
def test_handshake_and_value(drive, demo):
    report = drive("-token", "/app/größe", "-metadata", "k=v,n=ü", demo)
    assert report["error"] == ""
    assert (report["version"], report["network"]) == (1, "unix")
    assert report["calls"][0]["value"] == "/app/größe->k=v,n=ü"


@pytest.mark.parametrize(("versions", "chosen"), [("1", 1), ("1,2", 2), ("2,1,7", 2)])
def test_the_highest_common_version_is_chosen(drive, demo, versions, chosen):
    assert drive("-versions", versions, demo)["version"] == chosen


def test_without_a_common_version_the_host_reports_ours(drive, demo):
    report = drive("-versions", "8,9", demo)
    assert "incompatible API version with plugin. Plugin version: 1" in report["error"]


@pytest.mark.parametrize(
    ("token", "code", "message"),
    [
        ("missing", "NotFound", "kein Wert für » größe «\nzweite Zeile"),
        ("throttled", "ResourceExhausted", "slow down"),
        ("boom", "Unknown", "the plugin failed with KeyError; its log has the place"),
        ("binary", "Internal", "the value is not UTF-8 text, and protocol 1 of the host carries no other"),
    ],
)
def test_errors_arrive_with_their_code_and_text(drive, demo, token, code, message):
    call = drive("-token", token, demo)["calls"][0]
    assert (call["code"], call["message"]) == (code, message)


def test_errors_of_ours_carry_code_hint_and_delay(drive, demo):
    trailer = drive("-token", "missing", demo)["calls"][0]["trailer"]
    assert trailer["injector-error-code"] == ["value-not-found"]
    assert trailer["injector-error-hint"] == ["cr%C3%A9er"]
    assert drive("-token", "throttled", demo)["calls"][0]["trailer"]["injector-retry-after"] == ["2.500"]


def test_a_very_long_error_text_is_cut_and_arrives(drive, demo):
    call = drive("-token", "long", demo)["calls"][0]
    assert call["code"] == "NotFound"
    assert call["message"].startswith("ééé")
    assert call["message"].endswith("…")


def test_the_text_of_a_foreign_exception_is_nowhere(drive, demo):
    report = drive("-token", "boom", "-settle", "200ms", demo)
    logged = [line for line in report["log"] if line["@message"] == "the store failed"]
    assert logged[0]["type"] == "builtins.KeyError"
    assert "in look_up" in logged[0]["frames"]
    assert "secret-in-the-text" not in json.dumps(report)


def test_bytes_in_utf8_are_a_value(drive, demo):
    assert drive("-token", "text", demo)["calls"][0]["value"] == "größe 値"


def test_an_answer_of_3_mb_arrives(drive, demo):
    assert drive("-token", "big:3000000", demo)["calls"][0]["value"] == "x" * 3_000_000


def test_1000_calls_64_at_a_time_each_get_their_own_value(drive, demo):
    report = drive("-n", 1000, "-c", 64, "-token", "/n/{i}", demo)
    assert [call["value"] for call in report["calls"]] == [f"/n/{i}->" for i in range(1000)]


def test_what_is_printed_reaches_the_host_as_stdio(drive, demo):
    report = drive("-token", "print", "-settle", "500ms", demo)
    assert report["stdout"] == "out größe\nfrom a child\n"
    assert report["stderr"] == "err größe\n"


def test_a_flood_of_output_blocks_nothing(drive, demo):
    report = drive("-token", "flood", "-n", 3, demo)
    assert [call["code"] for call in report["calls"]] == ["OK"] * 3


def test_log_lines_keep_their_level_and_fields(drive, demo):
    report = drive("-token", "log", demo)
    line = next(line for line in report["log"] if line["@message"] == "hello")
    assert (line["@level"], line["count"], line["who"]) == ("warn", 3, "größe")
    assert line["@module"].endswith("demo")


def test_the_hosts_variables_are_not_passed_on(drive, demo):
    assert drive("-token", "env", demo)["calls"][0]["value"] == ""


@pytest.mark.parametrize("flags", [["-mtls"], ["-multiplex"], ["-mtls", "-multiplex"]])
def test_with_automtls_and_multiplexing_all_is_as_without(drive, demo, flags, socket_directory):
    def run() -> dict[str, Any]:
        return drive(*flags, "-n", 1000, "-c", 64, "-token", "/n/{i}", demo)

    report = ended_by_itself(run, socket_directory)
    assert report["error"] == ""
    assert [call["value"] for call in report["calls"]] == [f"/n/{i}->" for i in range(1000)]
    assert any(line["@message"] == "closed" for line in report["log"])
    assert report["left"] == []
    assert drive(*flags, "-token", "big:20000000", demo)["calls"][0]["value"] == "x" * 20_000_000
    assert drive(*flags, "-token", "missing", demo)["calls"][0]["code"] == "NotFound"
    assert drive(*flags, "-token", "print", "-settle", "500ms", demo)["stdout"] == "out größe\nfrom a child\n"
    assert drive(*flags, "-token", "sleep:30", "-timeout", "100ms", demo)["calls"][0]["code"] == "DeadlineExceeded"


def test_kill_ends_the_plugin_and_leaves_nothing(drive, demo, socket_directory):
    report = ended_by_itself(lambda: drive("-token", "a", demo), socket_directory)
    assert any(line["@message"] == "closed" for line in report["log"])
    assert not is_alive(report["pid"])
    assert report["left"] == []


def test_kill_ends_a_plugin_whose_calls_and_close_hang(drive, demo, socket_directory):
    def run() -> dict[str, Any]:
        return drive("-token", "sleep:30", "-timeout", "100ms", demo, DEMO_HANGS="1")

    report = ended_by_itself(run, socket_directory)
    assert report["calls"][0]["code"] == "DeadlineExceeded"
    assert report["left"] == []


def test_the_plugin_ends_when_its_host_is_killed(go_host, demo, socket_directory):
    host = subprocess.Popen(
        [go_host, "-hold", demo],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(socket_directory)},
    )
    with host:
        pid = json.loads(host.stdout.readline())["pid"]
        assert is_alive(pid)
        host.send_signal(signal.SIGKILL)
    wait_until_gone(pid)
    assert list(socket_directory.iterdir()) == []


@pytest.mark.seed("002:3", "002:6")
def test_the_first_party_plugin_runs_under_the_go_host(drive, python_plugin, ssm, moto_server):
    ssm.put_parameter(Name="/app/db", Value="from ssm", Type="SecureString")
    plugin = python_plugin(module="injector_awsparamstr", name="awsparamstr-linux-amd64")
    environment = {
        "AWS_ENDPOINT_URL": moto_server,
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    report = drive("-token", "/app/db", plugin, **environment)
    assert report["calls"][0]["value"] == "from ssm"
