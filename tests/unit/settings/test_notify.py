"""`notify` in a settings file, and in one line."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from injector.errors import InjectorError, RunFailed
from injector.settings.actions import ExecAction, HttpAction, RolloutAction, SignalAction
from injector.settings.load import load
from injector.settings.schema import Settings

HEADER = "apiVersion: config-injector.io/v1alpha1\nkind: Injector\n"


def from_file(tmp_path: Path, notify: str) -> Settings:
    path = tmp_path / "injector.yaml"
    path.write_text(HEADER + notify)
    return load(path=path, environ={}, flags={})


def problems(tmp_path: Path, notify: str) -> list[InjectorError]:
    with pytest.raises(InjectorError) as caught:
        from_file(tmp_path, notify)
    return list(caught.value.errors) if isinstance(caught.value, RunFailed) else [caught.value]


def from_line(*lines: str) -> Settings:
    return load(path=None, environ={}, flags={"notify": lines})


def test_every_way_can_be_written_in_a_file(tmp_path: Path) -> None:
    settings = from_file(
        tmp_path,
        """
notify:
  - {signal: SIGHUP, process: nginx, name: web, match: "*.conf"}
  - {signal: usr1, pidFile: run/app.pid}
  - {signal: 10, pid: 1}
  - {exec: [/bin/reload, --now, 5], timeout: 3s}
  - http: http://u:p@127.0.0.1:9000/-/reload
    method: PUT
    headers: {X-Reload: "1", X-Number: 2}
    expect: [200, 204]
    timeout: 5s
    caFile: ca.pem
  - {rollout: deployment/shop, namespace: shop, minInterval: 5m}
  - {rollout: daemonset/agent.v2}
""",
    )
    assert settings.notify == (
        SignalAction(name="web", match="*.conf", signal=signal.SIGHUP, process="nginx"),
        SignalAction(name="signal-2", signal=signal.SIGUSR1, pid_file=tmp_path / "run/app.pid"),
        SignalAction(name="signal-3", signal=10, pid=1),
        ExecAction(name="exec-1", command=("/bin/reload", "--now", "5"), timeout=3.0),
        HttpAction(
            name="http-1",
            url="http://u:p@127.0.0.1:9000/-/reload",
            method="PUT",
            headers=(("X-Reload", "1"), ("X-Number", "2")),
            expect=(200, 204),
            timeout=5.0,
            ca_file=tmp_path / "ca.pem",
        ),
        RolloutAction(name="rollout-1", workload="deployment", resource="shop", namespace="shop", min_interval=300.0),
        RolloutAction(name="rollout-2", workload="daemonset", resource="agent.v2"),
    )


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ("signal:HUP:process=nginx", SignalAction(name="signal-1", signal=1, process="nginx")),
        ("signal:SIGHUP:/run/nginx.pid", SignalAction(name="signal-1", signal=1, pid_file=Path("/run/nginx.pid"))),
        ("signal:1:pidFile=a.pid", SignalAction(name="signal-1", signal=1, pid_file=Path("a.pid"))),
        ("signal:HUP:pid=1", SignalAction(name="signal-1", signal=1, pid=1)),
        ("exec:/bin/reload --now 'a b'", ExecAction(name="exec-1", command=("/bin/reload", "--now", "a b"))),
        ("exec:a; rm -rf $HOME", ExecAction(name="exec-1", command=("a;", "rm", "-rf", "$HOME"))),
        ("http:PUT http://h/r", HttpAction(name="http-1", method="PUT", url="http://h/r")),
        ("http:https://h:1/r?a=b", HttpAction(name="http-1", url="https://h:1/r?a=b")),
        ("http:GET unix:/run/a.sock:/r", HttpAction(name="http-1", method="GET", url="unix:/run/a.sock:/r")),
        ("rollout:statefulset/db", RolloutAction(name="rollout-1", workload="statefulset", resource="db")),
    ],
)
def test_every_way_can_be_written_in_a_line(line: str, action: object) -> None:
    assert from_line(line).notify == (action,)


@pytest.mark.parametrize(
    "line",
    [
        *("", "signal", "signal:HUP", "signal:KILL:process=a", "signal:STOP:pid=1", "signal:9:pid=1", "signal:0:pid=2"),
        *(
            "signal:HUP:process=",
            "signal:HUP:process=/bin/a",
            "signal:HUP:pid=0",
            "signal:HUP:pid=x",
            "signal:NO:pid=1",
        ),
        *("exec:", "exec:''", "exec:'a", "http:", "http:ftp://h/", "http:http:///r", "http:http://h:99999/", "http:h"),
        *(
            "http:http://h/ x",
            "http:post http://h/",
            "http:http://h/\r\nX: y",
            "http:unix:run/a:/r",
            "http:http://h/#a",
        ),
        *("rollout:shop", "rollout:pod/shop", "rollout:deployment/", "rollout:deployment/A", "rollout:deployment/a/b"),
        "shell:reload",
    ],
)
def test_a_line_that_says_nothing_is_refused(line: str) -> None:
    with pytest.raises(InjectorError, match=r"--notify: expected signal:NAME:process=NAME"):
        from_line("signal:HUP:pid=7", line)


def test_the_variable_has_one_action_a_line_and_the_flag_goes_before_it() -> None:
    environ = {"INJECTOR_NOTIFY": "signal:HUP:pid=7\n\nexec:reload\nexec:reload 2\n"}
    actions = load(path=None, environ=environ, flags={}).notify
    assert [action.name for action in actions] == ["signal-1", "exec-1", "exec-2"]
    assert len(load(path=None, environ=environ, flags={"notify": ["exec:a"]}).notify) == 1


@pytest.mark.parametrize(
    ("entry", "message", "hint"),
    [
        ("{exec: /bin/reload --now}", "notify[0].exec: expected a list", "no shell takes it apart"),
        ("{exec: []}", "notify[0].exec names no program", None),
        ("{exec: [[a]]}", "notify[0].exec[0]: expected a text, got a list", None),
        ("{signal: HUP}", "notify[0] does not say which process the signal is for", "process, pidFile, pid"),
        ("{signal: HUP, pid: 2, process: a}", "notify[0] does not say which process the signal is for", "one of"),
        ("{signal: KILL, pid: 2}", "notify[0].signal: expected a signal such as HUP", None),
        ("{signal: HUP, process: a, timeout: 3s}", "notify[0].timeout does not belong to signal", None),
        ("{signal: HUP, exec: [a]}", "notify[0]: signal and exec in one entry", "signal, exec, http, rollout"),
        ("{match: '*'}", "notify[0]: does not say what to do", "signal, exec, http, rollout"),
        ("{exce: [a]}", "notify[0].exce is not a setting", "did you mean exec?"),
        ("{http: 'http://h/', headers: {Content-Length: 5}}", "notify[0].headers: this is not the name", None),
        ("{http: 'http://h/', headers: {A: 'b\\nc'}}", "", None),
        ('{http: "http://h/", headers: {A: "b\\nc"}}', "notify[0].headers.A: expected the value of a header", None),
        ("{http: 'http://h/', headers: {A: b, a: c}}", "notify[0].headers.a is there twice", None),
        ("{http: 'http://h/', expect: [20]}", "notify[0].expect[0]: expected an HTTP status", None),
        ("{http: 'http://h/', expect: []}", "", None),
        ("{exec: [a], headers: {A: b}}", "notify[0].headers does not belong to exec", None),
        ("{rollout: shop}", "notify[0].rollout: expected deployment/NAME", None),
        ("{exec: [a], name: 'a b'}", "notify[0].name: expected a name", None),
        ("nothing", "notify[0]: expected a mapping, got a text", None),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_place(
    tmp_path: Path, entry: str, message: str, hint: str | None
) -> None:
    if not message:
        assert len(from_file(tmp_path, f"notify:\n  - {entry}\n").notify) == 1
        return
    found = problems(tmp_path, f"notify:\n  - {entry}\n")
    assert found[0].message.startswith(message)
    assert found[0].place is not None
    assert found[0].place.line == 4
    assert hint is None or hint in str(found[0].hint)


def test_names_are_unique_and_a_workload_has_one_rollout(tmp_path: Path) -> None:
    found = problems(tmp_path, "notify:\n  - {exec: [a], name: x}\n  - {exec: [b], name: x}\n")
    assert [problem.message for problem in found] == ["two notifications are called x"]
    found = problems(tmp_path, "notify:\n  - {rollout: deployment/a}\n  - {rollout: deployment/a, match: '*.b'}\n")
    assert [problem.message for problem in found] == ["two notifications roll out deployment/a"]
    actions = from_file(tmp_path, "notify:\n  - {exec: [a]}\n  - {exec: [b], name: exec-1}\n").notify
    assert [action.name for action in actions] == ["exec-2", "exec-1"]


def test_a_render_pays_nothing_for_notifications() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from injector.settings.load import load; load(path=None, environ={}, flags={});"
        "print([name for name in ('injector.settings.action_kinds', 'shlex', 'signal') if name in sys.modules])"
    )
    command = [sys.executable, "-P", "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=dict(os.environ))
    assert run.stdout == "[]\n"
