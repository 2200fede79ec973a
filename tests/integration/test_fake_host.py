"""The host for authors' tests, with plugins that are right and plugins that are wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE, eventually

from injector.errors import (
    AccessDenied,
    BackendUnavailable,
    CallTimeout,
    HandshakeFailed,
    InvalidConfiguration,
    PluginAnswerInvalid,
    PluginCrashed,
    PluginStartFailed,
    PluginStartTimeout,
    ResolutionError,
    Throttled,
    ValueNotFound,
)
from injector.sdk import Reference
from injector.sdk.testing import FakeHost

PLUGIN = """
import os, sys, time
from injector.sdk import AccessDenied, Logger, LookupStore, NotFound, Throttled, serve

class Demo(LookupStore):
    def look_up(self, reference):
        word, _, argument = reference.path.partition(":")
        if word == "missing":
            raise NotFound("nothing in größe", hint="write it")
        if word == "denied":
            raise AccessDenied("no")
        if word == "throttled":
            raise Throttled("slow down", retry_after=2.5)
        if word == "boom":
            raise KeyError("x")
        if word == "exit":
            os._exit(3)
        if word == "sleep":
            time.sleep(float(argument))
        if word == "log":
            Logger("demo").warn("hello", who="größe")
            print("printed")
            print("to stderr", file=sys.stderr)
        if word == "variable":
            return os.environ.get(argument, "unset")
        return f"{reference.path}[{reference.raw_metadata}]"

    def close(self):
        time.sleep(float(os.environ.get("CLOSE_TAKES", "0")))

serve(Demo(), name="demo")
"""


@pytest.fixture
def demo(python_plugin) -> Path:
    return python_plugin(source=PLUGIN)


def test_a_plugin_is_started_asked_and_ended(demo):
    with FakeHost([demo], stop_grace=PATIENCE) as host:
        assert host.value("/größe", " k = v ") == "/größe[ k = v ]"
        assert host.health() == "SERVING"
        assert host.health("nobody") == "NOT_FOUND"
        assert host.handshake.network == "unix"
        assert host.processes == (host.pid,)
        assert len(host.socket_files) == 2  # the directory, and the socket in it
    assert (host.wait(0), host.was_killed, host.left_behind) == (0, False, ())


@pytest.mark.parametrize("protocol", [1, 2])
def test_errors_are_the_leaves_that_the_plugin_meant(demo, protocol):
    with FakeHost([demo], protocols=(protocol,)) as host:
        with pytest.raises(ValueNotFound, match="nothing in größe") as missing:
            host.value("missing")
        assert missing.value.hint == "write it"
        with pytest.raises(Throttled) as throttled:
            host.value("throttled")
        assert throttled.value.retry_after == 2.5
        with pytest.raises(AccessDenied):
            host.value("denied")
        with pytest.raises(BackendUnavailable, match="UNKNOWN: the plugin failed with KeyError"):
            host.value("boom")
        with pytest.raises(CallTimeout):
            host.value("sleep:5", timeout=0.2)


BATCHING = """
import time
from injector.sdk import (
    Answer, Description, InvalidConfiguration, Lease, NotFound, RateLimit, Throttled, TokenStore, serve
)

class Batching(TokenStore):
    batches = []

    def describe(self):
        schema = {"type": "object", "properties": {"key": {"type": "string", "writeOnly": True}}}
        return Description(("DEMO",), "demo", "7", 2, 3, RateLimit(2.5, 4), schema)

    def configure(self, connection, settings):
        if settings.get("key") != "good":
            raise InvalidConfiguration("key is wrong", hint="take another")

    def resolve(self, references):
        size = len(references)
        for reference in reversed(references):
            if reference.path == "/missing":
                yield reference, NotFound("none", hint="write it")
            elif reference.path == "/throttled":
                yield reference, Throttled("slow down", retry_after=2.5)
            elif reference.path == "/binary":
                yield reference, Answer(bytes([255]), "3", 1.5, Lease("id", 60, True))
            else:
                yield reference, f"{reference.connection}{reference.path} of {size}"

serve(Batching(), name="batching")
"""


def test_in_protocol_2_a_batch_brings_bytes_and_typed_errors_in_the_order_of_their_arrival(python_plugin):
    with FakeHost([python_plugin(source=BATCHING)]) as host:
        assert host.handshake.version == 2
        arrived = host.resolve(["/a", "/binary", "/missing", "/throttled"])
        assert [place for place, _ in arrived] == [3, 2, 1, 0]
        throttled, missing, binary, text = (outcome for _, outcome in arrived)
        assert (type(throttled), throttled.retry_after) == (Throttled, 2.5)
        assert (type(missing), missing.message, missing.hint) == (ValueNotFound, "none", "write it")
        assert (binary.value, binary.version, binary.ttl, binary.lease) == (b"\xff", "3", 1.5, ("id", 60.0, True))
        assert text.value == b"/a of 4"
        with pytest.raises(PluginAnswerInvalid, match="no UTF-8 text"):
            host.value("/binary")


def test_in_protocol_2_outcomes_are_asked_in_batches_as_described(python_plugin):
    with FakeHost([python_plugin(source=BATCHING)]) as host:
        asked = ["/a", "/a", "/b", "/c", Reference("/d", "", "other")]
        assert host.outcomes(asked) == ["/a of 2", "/a of 2", "/b of 2", "/c of 1", "other/d of 1"]


def test_in_protocol_2_a_plugin_describes_and_configures_itself(python_plugin):
    with FakeHost([python_plugin(source=BATCHING)]) as host:
        said = host.describe()
        assert (said.prefixes, said.name, said.version) == (("DEMO",), "demo", "7")
        assert (said.largest_batch, said.most_in_flight, said.rate_limit) == (2, 3, (2.5, 4))
        assert json.loads(said.schema)["properties"]["key"]["writeOnly"]
        assert not said.can_watch
        host.configure("other", {"key": "good"})
        with pytest.raises(InvalidConfiguration, match="key is wrong"):
            host.configure("other", {"key": "bad"})


def test_what_is_offered_is_what_is_spoken(demo):
    with FakeHost([demo], protocols=(1,)) as host:
        assert host.handshake.version == 1
        assert host.outcomes(["/a", "missing"])[0] == "/a[]"
        with pytest.raises(RuntimeError, match="speaks protocol 1"):
            host.describe()
    with FakeHost([demo], protocols=(2,)) as host:
        assert (host.handshake.version, host.value("/a")) == (2, "/a[]")
    with pytest.raises(ValueError, match="protocols"):
        FakeHost([demo], protocols=(3,))


@pytest.mark.parametrize("protocol", [1, 2])
def test_outcomes_stand_in_the_order_of_the_questions(demo, protocol):
    with FakeHost([demo], protocols=(protocol,)) as host:
        first, error, last = host.outcomes(["sleep:0.3", "missing", ("/a", "b=c")])
    assert (first, last) == ("sleep:0.3[]", "/a[b=c]")
    assert isinstance(error, ResolutionError)


@pytest.mark.parametrize("protocol", [1, 2])
def test_a_plugin_that_ends_in_a_call_has_crashed(demo, protocol):
    with FakeHost([demo], protocols=(protocol,), stop_grace=PATIENCE) as host:
        with pytest.raises(PluginCrashed):
            host.value("exit")
        assert host.wait(PATIENCE) == 3
        assert not host.is_alive
    assert not host.was_killed


def test_log_and_output_are_kept(demo):
    with FakeHost([demo]) as host:
        host.value("log")
        eventually(lambda: "printed" in host.stdout and "to stderr" in host.printed_errors)
        line = next(line for line in host.log if line.message == "hello")
        assert (line.level, line.fields) == ("warn", {"who": "größe"})


def test_a_plugin_gets_our_variables_and_those_of_the_test_and_none_of_a_host(demo, monkeypatch):
    monkeypatch.setenv("FROM_OUTSIDE", "a")
    monkeypatch.setenv("PLUGIN_CLIENT_CERT", "of our own host")
    with FakeHost([demo], environment={"OF_THE_TEST": "b"}) as host:
        assert host.value("variable:FROM_OUTSIDE") == "a"
        assert host.value("variable:OF_THE_TEST") == "b"
        assert host.value("variable:PLUGIN_CLIENT_CERT") == "unset"


def test_where_no_socket_can_be_had_a_port_is_used(demo):
    with FakeHost([demo], environment={"PLUGIN_UNIX_SOCKET_DIR": "/nonexistent"}) as host:
        assert host.handshake.network == "tcp"
        assert 10000 <= int(host.handshake.address.rpartition(":")[2]) <= 25000
        assert host.value("/a") == "/a[]"


def test_a_plugin_that_does_not_end_is_killed_and_that_is_told(python_plugin):
    source = PLUGIN.replace("serve(Demo()", "import injector.sdk.serving as s; s._GRACE_FOR_STORE = 60\nserve(Demo()")
    with FakeHost([python_plugin(source=source)], environment={"CLOSE_TAKES": "60"}, stop_grace=0.3) as host:
        assert host.value("/a") == "/a[]"
    assert host.was_killed
    assert host.wait(0) == -9


def test_what_a_plugin_leaves_behind_is_told_and_removed(python_plugin):
    source = "import os, pathlib\npathlib.Path(os.environ['TMPDIR'], 'left').touch()\n" + PLUGIN
    with FakeHost([python_plugin(source=source)]) as host:
        base = Path(host.value("variable:TMPDIR"))
    assert host.left_behind == ("left",)
    assert not base.exists()


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("print('hello')", HandshakeFailed, "no handshake but 'hello'"),
        ("import sys; sys.exit('what went wrong')", PluginStartFailed, "ended with 1.*what went wrong"),
        ("import time; time.sleep(600)", PluginStartTimeout, "sent no handshake within 3 s"),
        ("import os, time; os.close(1); time.sleep(600)", PluginStartFailed, "closed its standard output"),
        (
            "print('1|1|unix|/nonexistent/s|grpc|', flush=True)\nimport time; time.sleep(600)",
            PluginStartFailed,
            "nobody",
        ),
        ("print('1|9|unix|/s|grpc|')", HandshakeFailed, "protocol '9', and the host offers 1, 2"),
        ("print('1|1|unix|/s|grpc|abc')", HandshakeFailed, "certificate"),
        ("print('1|1|unix|/s|grpc||true')", HandshakeFailed, "multiplexing"),
    ],
)
def test_a_plugin_that_does_not_start_says_why_and_leaves_no_process(python_plugin, tmp_path, source, kind, said):
    source = f"import os\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n{source}\n"
    waits_for_it = kind is PluginStartTimeout or said == "nobody"
    with pytest.raises(kind, match=f"(?s){said}"):
        FakeHost([python_plugin(source=source)], start_timeout=3 if waits_for_it else PATIENCE).start()
    pid = int((tmp_path / "pid").read_text() or "0")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_command_that_is_not_there_is_told(tmp_path):
    with pytest.raises(PluginStartFailed, match="cannot be executed: No such file"):
        FakeHost([tmp_path / "none"]).start()


FAULTS = {
    "test_known_paths_have_exactly_their_values": "VALUES['/a'] = 'another value'",
    "test_a_missing_path_is_not_found_and_costs_only_itself": "VALUES['/nope'] = 'there'",
    "test_no_value_is_in_its_log_or_output": "import sys; sys.stderr.write('value of /a')",
    "test_metadata_arrives_as_it_was_written": "CHANGE = str.strip",
    "test_64_calls_in_flight_each_get_their_own_answer": "MIX = True",
    "test_odd_paths_get_an_answer_each_and_do_no_harm": "DIE = True",
    "test_shutdown_ends_it_in_time_and_leaves_nothing": "serving._GRACE_FOR_STORE = 5; CLOSE = 5",
    "test_it_ends_when_its_host_is_killed": "import time; serving._Plugin.stop = lambda self: time.sleep(60)",
    "test_ctrl_c_is_the_hosts_business": "serving._Plugin._obey_signals = lambda _: __import__('signal').signal(2, 0)",
    "test_without_the_cookie_it_says_that_it_is_a_plugin_and_ends_with_1": "serving.introduction = lambda name: 'no'",
    "test_a_change_is_told_to_who_watches": "TELLS = False",
    "test_two_watches_are_told_each": "ONE_OF_THEM = True",
    "test_watches_that_are_given_up_hold_nothing": "HOLDS = True; protocol2._WATCHES = 2",
    "test_a_watch_does_not_keep_it_from_ending": "serving._GRACE_FOR_STORE = 5; CLOSE = 5",
    "test_a_plugin_that_cannot_watch_refuses_it_and_stays_well": "CAN_WATCH = False; protocol2._abort = lambda *_: 1",
    "test_a_lease_that_it_does_not_know_does_no_harm": "FORGETS = os._exit",
    "test_leases_are_given_back": "FORGETS = bool",
}

FAULTY = """
import os, pathlib, sys, threading, time
from injector.sdk import Answer, Lease, LookupStore, NotFound, protocol2, serve, serving

FOLDER = pathlib.Path(sys.argv[1])
VALUES = {"/a": "value of /a", "/b": "value of /b"}
CHANGE = str
MIX = DIE = False
CLOSE = 0
TELLS = CAN_WATCH = True
ONE_OF_THEM = HOLDS = False
FIRST = {}
FORGETS = None
FAULT
last = "/a"

class Faulty(LookupStore):
    def look_up(self, reference):
        global last
        if DIE and "%" in reference.path:
            os._exit(1)
        path, last = (last if MIX else reference.path), reference.path
        if path == "/echo":
            return CHANGE(reference.raw_metadata)
        if path not in VALUES:
            raise NotFound("none")
        return Answer(VALUES[path], lease=Lease("lease-" + path[1:], 60, True))

    def watch(self, references):
        if not CAN_WATCH:
            return
        changed, seen, this = FOLDER / "changed", 0, {}
        while True:
            time.sleep(0.05)
            if TELLS and changed.exists() and changed.stat().st_mtime_ns != seen:
                seen = changed.stat().st_mtime_ns
                if not ONE_OF_THEM or FIRST.setdefault("watch", this) is this:
                    yield from references
            while HOLDS:
                time.sleep(1)
            yield None

    def release(self, leases):
        for lease in leases:
            if FORGETS:
                FORGETS(1)
            else:
                (FOLDER / lease).touch()

    def close(self):
        time.sleep(CLOSE)

if not CAN_WATCH:
    protocol2.Protocol2Service._can_watch = lambda _: False
serve(Faulty(), name="faulty")
"""

SUITE = """
import pytest
from injector.sdk.testing import PluginContract, contract_watch

contract_watch._PATIENCE = 3.0

class TestFault{number}(PluginContract):
    @pytest.fixture
    def plugin_command(self, tmp_path):
        return [{plugin!r}, str(tmp_path)]

    @pytest.fixture
    def change(self, tmp_path):
        return lambda path: (tmp_path / "changed").write_text(path)

    @pytest.fixture
    def is_released(self, tmp_path):
        return lambda lease: (tmp_path / lease).exists()

    known = {{"/a": "value of /a", "/b": "value of /b"}}
    known_with_metadata = {{("/echo", " k = v "): " k = v "}}
    missing = "/nope"
    start_within = 60.0
"""


@pytest.mark.timeout(400)
def test_the_contract_finds_each_fault(python_plugin, tmp_path):
    asked = []
    for number, (test, fault) in enumerate(FAULTS.items()):
        plugin = python_plugin(source=FAULTY.replace("FAULT", fault, 1), name=f"faulty{number}")
        (tmp_path / f"test_fault{number}.py").write_text(SUITE.format(number=number, plugin=str(plugin)))
        asked.append(f"test_fault{number}.py::TestFault{number}::{test}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *asked],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=390,
    )
    assert done.returncode == 1, done.stderr
    assert [test for test in asked if f"FAILED {test}" not in done.stdout] == []
