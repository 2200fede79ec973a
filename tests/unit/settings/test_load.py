"""Who wins, and what is said about what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from injector.errors import RunFailed, SettingsError, SettingsNotFound, UnknownSetting
from injector.model.policy import AutoMtls, MissingPolicy, OnMissing, Verify
from injector.settings.load import load
from injector.settings.options import OPTIONS
from injector.settings.schema import PluginSettings, Settings

HEADER = "apiVersion: config-injector.io/v1alpha1\nkind: Injector\n"


@pytest.fixture
def file(tmp_path):
    def write(text, *, header=HEADER):
        path = tmp_path / "injector.yaml"
        path.write_bytes((header + text).encode() if isinstance(text, str) else text)
        return path

    return write


def _load(path=None, environ=None, flags=None):
    return load(path=path, environ=environ or {}, flags=flags or {})


def _problems(path=None, environ=None, flags=None):
    with pytest.raises((SettingsError, RunFailed)) as caught:
        _load(path, environ, flags)
    error = caught.value
    return list(error.errors) if isinstance(error, RunFailed) else [error]


def test_nothing_said_is_the_default():
    settings = _load(environ={"HOME": "/root"}, flags={"timeout": None, "plugin_path": ()})
    assert settings == Settings()
    assert (settings.timeout, settings.concurrency, settings.mode) == (60.0, 64, 0o600)
    assert settings.plugins == PluginSettings(start_timeout=30.0, call_timeout=30.0, max_value_size=16 << 20)


def test_a_flag_goes_before_a_variable_before_the_file_before_the_default(file):
    path = file("timeout: 1s\nconcurrency: 1\nmode: 0400\n")
    environ = {"INJECTOR_TIMEOUT": "2s", "INJECTOR_CONCURRENCY": "2"}
    settings = _load(path, environ, {"timeout": "3s"})
    assert (settings.timeout, settings.concurrency, settings.mode, settings.envsubst) == (3.0, 2, 0o400, False)


def test_every_key_of_the_file_arrives(file, tmp_path):
    path = file("""
tokenSeparator: "#"
keySeparator: "^"
envsubst: true
onMissing: default
defaultValue: none
timeout: 1m30s
concurrency: 8
mode: "0640"
pluginPath: [plugins, /opt/plugins]
fileRoot: secrets
logLevel: debug
logFormat: json
plugins:
  startTimeout: 5s
  callTimeout: 500ms
  healthInterval: 1m
  passEnvironment: [HTTPS_PROXY, NO_PROXY]
  maxValueSize: 1Mi
  lockFile: plugins.lock
  verify: off
files:
  - match: "*.legacy"
    tokenSeparator: "://"
""")
    settings = _load(path)
    assert settings == Settings(
        token_separator="#",
        key_separator="^",
        envsubst=True,
        on_missing=OnMissing.DEFAULT,
        default_value="none",
        timeout=90.0,
        concurrency=8,
        mode=0o640,
        plugin_path=(tmp_path / "plugins", Path("/opt/plugins")),
        file_root=tmp_path / "secrets",
        log_level="debug",
        log_format="json",
        plugins=PluginSettings(
            start_timeout=5.0,
            call_timeout=0.5,
            health_interval=60.0,
            pass_environment=("HTTPS_PROXY", "NO_PROXY"),
            max_value_size=1 << 20,
            lock_file=tmp_path / "plugins.lock",
            verify=Verify.OFF,
        ),
        files=settings.files,
    )
    assert [override.match for override in settings.files] == ["*.legacy"]


def test_a_lock_file_beside_the_settings_file_holds_unless_another_is_named(file, tmp_path):
    path = file("")
    assert _load(path).plugins.lock_file is None
    (tmp_path / "injector.plugins.lock").symlink_to("dangling")  # there, and unusable: not the same as none
    assert _load(path).plugins.lock_file == tmp_path / "injector.plugins.lock"
    assert _load(path, {"INJECTOR_PLUGIN_LOCK_FILE": "other"}).plugins.lock_file == Path("other")


def test_every_variable_and_every_flag_arrives_as_the_file_does(file):
    texts = {
        "inputs": f"/t/a.yml{os.pathsep}-",
        "output": "/o/a.yml",
        "output_dir": "/o",
        "token_separator": "#",
        "key_separator": "^",
        "envsubst": "true",
        "on_missing": "keep",
        "default_value": "x",
        "file_format": "json",
        "escape": "raw",
        "check": "off",
        "check_timeout": "4s",
        "timeout": "7s",
        "concurrency": "7",
        "mode": "0440",
        "owner": "1000",
        "group": "secrets",
        "write": "set",
        "on_error": "fail",
        "max_stale": "1h",
        "required": "false",
        "refresh": "off",
        "splay": "3s",
        "debounce_min": "10ms",
        "debounce_max": "1s",
        "rescan": "12s",
        "prune": "true",
        "listen": "[::1]:8080",
        "control": "/run/injector.sock",
        "events": "true",
        "handover": "/handover",
        "notify": "signal:HUP:process=nginx",
        "plugin_path": f"/a{os.pathsep}b",
        "file_root": "/c",
        "log_level": "error",
        "log_format": "json",
        "plugin_start_timeout": "8s",
        "plugin_call_timeout": "9s",
        "plugin_health_interval": "11s",
        "pass_environment": "A,B_2",
        "max_value_size": "64k",
        "auto_mtls": "off",
        "multiplex": "true",
        "plugin_port_min": "20000",
        "plugin_port_max": "30000",
        "plugin_socket_group": "secrets",
        "plugin_socket_directory": "/d",
        "plugin_wasm_cache": "/d/wasm",
        "plugin_wasm_memory": "32Mi",
        "plugin_lock_file": "/d/lock",
        "plugin_verify": "required",
        "connection": "prod-eu, vault",
        "connections_store": "/e/connections.db",
        "master_key_file": "/e/key",
        "connections_directory": "/f",
    }
    assert {option.flag for option in OPTIONS} == set(texts)
    by_variable = _load(environ={f"INJECTOR_{name.upper()}": text for name, text in texts.items()})
    lists = {"inputs": ("/t/a.yml", "-"), "plugin_path": ("/a", "b"), "pass_environment": ["A", "B_2"]}
    by_flag = _load(flags=texts | lists | {"envsubst": True})
    assert by_flag.connection == ("prod-eu", "vault")
    for group in ("plugins", "connections"):
        changed = [option.field.partition(".")[2] for option in OPTIONS if option.field.startswith(f"{group}.")]
        for field in changed:
            assert getattr(getattr(by_flag, group), field) != getattr(getattr(Settings(), group), field)
    assert by_variable == by_flag
    assert by_flag.plugin_path == (Path("/a"), Path("b"))
    assert by_flag.plugins.max_value_size == 64_000
    different = [option.field for option in OPTIONS if "." not in option.field]
    assert all(getattr(by_flag, field) != getattr(Settings(), field) for field in different)


def test_how_plugins_are_reached_can_be_set(file):
    path = file("""
plugins:
  autoMtls: off
  multiplex: true
  minPort: 20000
  maxPort: 20010
  socketGroup: 1000
  socketDirectory: sockets
""")
    plugins = _load(path).plugins
    assert plugins.auto_mtls is AutoMtls.OFF  # YAML takes `off` for a truth value; here it is the word
    assert (plugins.multiplex, plugins.min_port, plugins.max_port) == (True, 20_000, 20_010)
    assert (plugins.socket_group, plugins.socket_directory) == ("1000", path.parent / "sockets")


def test_a_port_range_the_wrong_way_round_is_refused(file):
    with pytest.raises(SettingsError, match="minPort is above"):
        _load(file("plugins: {minPort: 30000}\n"))


def test_json_is_a_settings_file_too(file):
    path = file('{"apiVersion": "config-injector.io/v1alpha1", "kind": "Injector", "timeout": "5s"}', header="")
    assert _load(path).timeout == 5.0


def test_a_key_without_a_value_is_not_set(file):
    assert _load(file("timeout:\npluginPath:\nplugins:\nfiles:\n")) == Settings()


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("timout: 5s\n", "3:1", "timout is not a setting", "did you mean timeout?"),
        ("token_separator: x\n", "3:1", "token_separator is not a setting", "did you mean tokenSeparator?"),
        ("plugins:\n  startTimout: 5s\n", "4:3", "plugins.startTimout is not a setting", "did you mean startTimeout?"),
        ("zzzzzz: 1\n", "3:1", "zzzzzz is not a setting", None),
        ("timeout: 30\n", "3:10", "timeout: expected a duration", None),
        ("timeout: [30s]\n", "3:10", "such as 500ms, 30s or 1h30m, above zero, got a list", None),
        ("envsubst: 'true'\n", "3:11", "envsubst: expected true or false, got a text", None),
        ("defaultValue: 5\n", "3:15", "defaultValue: expected a text, got a number", "put quotes around it"),
        ("defaultValue: !x y\n", "3:15", "defaultValue: expected a text, got a value of another type", None),
        ("mode: 1777\n", "3:7", "mode: expected octal permission bits such as 0600, at most 0777", None),
        ("onMissing: ignore\n", "3:12", "onMissing: expected one of fail, empty, keep, default", None),
        ("concurrency: 0\n", "3:14", "concurrency: expected a whole number", None),
        ("concurrency: 1.5\n", "3:14", "concurrency: expected a whole number from 1 to 10000, got a number", None),
        ("keySeparator: '||'\n", "3:15", "keySeparator: expected a single character", None),
        ("pluginPath: /a\n", "3:13", "pluginPath: expected a list, got a text", None),
        ("pluginPath: [a, 5]\n", "3:17", "pluginPath[1]: expected a path, got a number", None),
        ("plugins: [a]\n", "3:10", "plugins: expected a mapping, got a list", None),
        ("plugins: {passEnvironment: ['A=b']}\n", "3:29", "plugins.passEnvironment[0]: expected the name", None),
        ("files: {match: a}\n", "3:8", "files: expected a list, got a mapping", None),
        ("files: [{mode: 0600}]\n", "3:9", "files[0] has no match", "match: '*.conf'"),
        ("files: [{match: '**/a'}]\n", "3:17", "files[0].match: expected a pattern", None),
        ("files: [{match: a, timeout: 1s}]\n", "3:20", "files[0].timeout is not a setting", None),
        ("timeout: 1s\ntimeout: 2s\n", "4:1", "timeout is there twice, first on line 3", None),
        ("plugins: {callTimeout: 1s, callTimeout: 1s}\n", "3:28", "plugins.callTimeout is there twice", None),
        ("<<: {timeout: 1s}\n", "3:1", "<< is not a setting", None),
        ("? [a]\n: b\n", "3:3", "this key is not a setting", None),
        ("a: [1\nb: 2\n", "4:2", "this is not valid YAML", "unclosed"),
        ("a: *nowhere\n", "3:4", "this is not valid YAML", None),
        ("a: 'b\x01'\n", "3:6", "a forbidden character", None),
        ("---\nkind: Injector\n", "3:1", "this is not valid YAML", None),
    ],
)  # fmt: skip
def test_a_problem_is_told_with_its_place_and_a_remedy(file, text, place, message, hint):
    path = file(text)
    (problem,) = _problems(path)
    assert str(problem.place) == f"{path}:{place}"
    assert message in problem.message
    assert hint is None or hint in (problem.hint or "")
    assert isinstance(problem, UnknownSetting) == ("not a setting" in message)


@pytest.mark.parametrize(
    ("header", "messages"),
    [
        ("timeout: 1s\n", ["apiVersion is missing", "kind is missing"]),
        ("apiVersion: v1\nkind: Injector\n", ["apiVersion is not one that this version knows"]),
        ("apiVersion: config-injector.io/v1alpha1\nkind: [Injector]\n", ["kind is not one that this version knows"]),
        ("- a\n", ["settings: expected a mapping, got a list", "apiVersion is missing", "kind is missing"]),
        ("just a text\n", ["settings: expected a mapping, got a text", "apiVersion is missing", "kind is missing"]),
    ],
)
def test_a_file_of_another_kind_is_refused(file, header, messages):
    assert [problem.message for problem in _problems(file("", header=header))] == messages


def test_all_problems_come_together_those_of_the_file_first(file):
    path = file("timout: 1s\nmode: 999\n")
    problems = _problems(path, {"INJECTOR_CONCURRENCY": "many", "INJECTOR_NOPE": "1"}, {"timeout": "soon"})
    assert [problem.message.partition(":")[0] for problem in problems] == [
        "timout is not a setting",
        "mode",
        "INJECTOR_CONCURRENCY",
        "the environment variable INJECTOR_NOPE is not a setting",
        "--timeout",
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"defaultValue: [hunter2\n",
        b"defaultValue: {a: hunter2}\n",
        b"mode: hunter2\n",
        b"timeout: hunter2\n",
        b"onMissing: hunter2\n",
        b"plugins: {maxValueSize: hunter2, passEnvironment: ['hunter2=1']}\n",
        b"kind: hunter2\n",
        b"a: &hunter2 'x\n",
        b"a: *hunter2\n",
        b"a: !hunter2 x\nb: \xff\xfehunter2\n",
    ],
)
def test_a_value_never_shows_in_a_message_nor_behind_it(file, content):
    path = file(content, header="")
    for problem in _problems(path, {"INJECTOR_MODE": "hunter2"}, {"log_level": "hunter2"}):
        seen = [problem, *vars(problem).values()]
        assert problem.__cause__ is None
        assert problem.__context__ is None or problem.__suppress_context__
        assert not any("hunter2" in f"{each!r} {each}" for each in seen)


def test_deep_nesting_and_large_files_are_refused(file):
    for opening in ("[", "{a: ", "- "):  # 30,000 of these end a process that composes them
        (problem,) = _problems(file("a:\n " + opening * 30_000))
        assert "nested too deeply" in problem.message
        assert problem.place.line == 4
    assert "larger than" in _problems(file("#" * 2_000_000))[0].message


def test_aliases_that_multiply_cost_nothing(file):
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    problems = _problems(file("\n".join(lines) + "\npluginPath: *a29\n"))
    assert len(problems) == 30 + 9


def test_files_that_cannot_be_read_say_why(tmp_path):
    with pytest.raises(SettingsNotFound, match="does not exist"):
        _load(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="Is a directory"):
        _load(tmp_path)
    (tmp_path / "empty.yaml").write_bytes(b"# nothing\n")
    with pytest.raises(SettingsError, match="is empty"):
        _load(tmp_path / "empty.yaml")
    with pytest.raises(SettingsError, match="NUL"):
        _load(Path("a\0b"))


def test_an_unknown_variable_is_an_error_with_the_nearest_name():
    (problem,) = _problems(environ={"INJECTOR_ONMISSING": "keep"})
    assert isinstance(problem, UnknownSetting)
    assert problem.message == "the environment variable INJECTOR_ONMISSING is not a setting"
    assert problem.hint == "did you mean INJECTOR_ON_MISSING?"


def test_variables_of_a_service_named_injector_are_not_ours():
    # What the kubelet sets for the Services "injector" and "injector-webhook" (enableServiceLinks).
    environ = {
        f"INJECTOR{name}_{rest}": "x"
        for name in ("", "_WEBHOOK", "_2")
        for rest in (
            "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTPS", "PORT", "PORT_443_TCP", "PORT_443_TCP_PROTO",
            "PORT_443_TCP_PORT", "PORT_443_TCP_ADDR",
        )
    }  # fmt: skip
    assert _load(environ=environ | {"INJECTOR_CONFIG": "x", "INJECTOR_TIMEOUT": "5s"}).timeout == 5.0
    assert not any(option.variable in environ for option in OPTIONS)


def test_an_empty_variable_is_not_set(file):
    assert _load(file("timeout: 5s\n"), {"INJECTOR_TIMEOUT": "", "INJECTOR_PLUGIN_PATH": ""}).timeout == 5.0


@pytest.mark.parametrize(
    "environ",
    [
        {"INJECTOR_ENVSUBST": "maybe"},
        {"INJECTOR_FILE_ROOT": "a\0b"},
        {"INJECTOR_DEFAULT_VALUE": "\udcff"},
        {"INJECTOR_PASS_ENVIRONMENT": "A,B=C"},
        {"INJECTOR_LOG_LEVEL": "loud"},
    ],
)
def test_a_variable_with_an_unusable_value_is_an_error(environ):
    (problem,) = _problems(environ=environ)
    assert problem.message.startswith(f"{next(iter(environ))}: expected ")


def test_a_flag_that_is_no_setting_is_a_mistake_of_the_program():
    with pytest.raises(TypeError, match="colour"):
        _load(flags={"colour": "red"})


def test_overrides_go_before_the_runs_settings_and_the_later_before_the_earlier(file):
    path = file("""
files:
  - {match: "*.conf", tokenSeparator: "#", onMissing: keep, mode: 0640}
  - {match: "legacy/*", onMissing: default, defaultValue: none, envsubst: true}
  - {match: "/etc/exact.conf", keySeparator: "^"}
""")
    settings = _load(path, flags={"on_missing": "empty", "token_separator": "://"})
    legacy = settings.for_file("templates/legacy/a.conf")
    assert (legacy.token_separator, legacy.mode, legacy.envsubst) == ("#", 0o640, True)
    assert legacy.missing == MissingPolicy(OnMissing.DEFAULT, "none")
    other = settings.for_file("templates/b.yaml")
    assert (other.token_separator, other.mode, other.envsubst) == ("://", 0o600, False)
    assert other.missing == MissingPolicy(OnMissing.EMPTY, "")
    assert settings.for_file("b.conf").on_missing is OnMissing.KEEP
    assert settings.for_file("/etc/exact.conf").key_separator == "^"
    assert settings.for_file("other/etc/exact.conf").key_separator == "|"
    assert settings.for_file("B.CONF").token_separator == "://"


def test_without_a_file_nothing_of_yaml_is_imported():
    code = "import sys; from injector.settings.load import load; load(path=None, environ={}, flags={});"
    code += "sys.exit('yaml' in sys.modules or 'difflib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
