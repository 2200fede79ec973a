"""
What the command prints for each error: provoked by a small scenario, without a network.

    python -m tools.error_texts            writes tests/data/errors/CODE.txt
    python -m tools.error_texts CODE…      some of them

A test compares. Paths, the platform and the interpreter are told by placeholders; everything else is as users see it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from injector.backends.executables import this_platform

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ROOT / "tests" / "data" / "errors"
INJECTOR = Path(sys.executable).with_name("injector")
PLATFORM = this_platform().file_suffix

STORE = f"""#!{sys.executable}
import os, time
from injector.sdk import *

class Demo(LookupStore):
    def look_up(self, reference):
        what = reference.path.strip("/")
        if what == "json": return '{{"a": 1, "list": [{{"n": 1}}, {{"n": 2}}]}}'
        if what == "text": return "no document"
        if what == "zero": return "a\\0b"
        if what == "large": return "x" * 5000
        if what == "none": raise NotFound("no secret /none in the demo store", hint="see `demo list`")
        if what == "denied": raise AccessDenied("demo:Read on /denied is not allowed")
        if what == "credentials": raise CredentialsRefused("the token of the demo store has expired")
        if what == "throttled": raise Throttled("too many requests", retry_after=0.05)
        if what == "away": raise Unavailable("the demo store is being upgraded")
        if what == "reference": raise InvalidReference("a path of the demo store has no blanks")
        if what == "slow": time.sleep(60)
        if what == "exit": os._exit(3)
        return "value"

    def configure(self, connection, settings):
        if settings: raise InvalidConfiguration("the setting endpoint is not a URL")

serve(Demo(), name="demo", version="1.0.0")
"""
SCRIPT = "#!/bin/sh\n"


class Scenario(NamedTuple):
    """
    `files` are written (path to text; a path that ends in `*` is made executable), then all commands are run; what the
    last one prints counts. Commands are arguments of `injector`, or `sh -c` scripts when they start with `!`.
    """

    files: dict[str, str]
    commands: list[str]
    environment: dict[str, str] = {}  # noqa: RUF012  # nobody changes it


def _store(path: str, *more: str, name: str = "a.conf", **environment: str) -> Scenario:
    """A render of one token for the demo plugin."""
    return Scenario(
        {name: f"password = DEMO://{path}\n", f"plugins/demo/demo-{PLATFORM}*": STORE},
        [" ".join(["render --plugin-path plugins", *more, name])],
        environment,
    )


def _plugin(program: str, *more: str, **environment: str) -> Scenario:
    """The same with another program in the plugin's place."""
    files = {"a.conf": "password = DEMO:///x\n", f"plugins/demo/demo-{PLATFORM}*": program}
    return Scenario(files, [" ".join(["render --plugin-path plugins", *more, "a.conf"])], environment)


def _template(text: str, *more: str, name: str = "a.conf") -> Scenario:
    return Scenario({name: text}, [" ".join(["render", *more, name])])


def _settings(text: str) -> Scenario:
    return Scenario({"injector.yaml": text, "a.conf": "x\n"}, ["render --config injector.yaml a.conf"])


_HEAD = "apiVersion: config-injector.io/v1alpha1\nkind: Injector\n"
_LOCK = "plugin lock --plugin-path plugins --plugin-lock-file lock"
_LOCKED = "render --plugin-path plugins --plugin-lock-file lock a.conf"
_KEPT = "render --record kept --recording-key key a.conf"
_REPLAY = "render --replay kept --recording-key key a.conf"
_ENV = {"VALUE": "secret"}
_SHA = hashlib.sha256(b"no program\n").hexdigest()

SCENARIOS: dict[str, Scenario] = {
    "usage": Scenario({"a.conf": "x\n"}, ["render -o out --output-dir out a.conf"]),
    "settings-invalid": _settings(_HEAD + "timeout: soon\nmode: 8\n"),
    "settings-not-found": Scenario({}, ["render --config nowhere.yaml a.conf"]),
    "settings-unknown-key": _settings(_HEAD + "onMising: keep\n"),
    "account-unknown": Scenario({"a.conf": "x\n"}, ["render --owner nobody-of-that-name a.conf -o out"]),
    "plugin-path-not-found": Scenario({"a.conf": "DEMO:///x\n"}, ["render --plugin-path nowhere a.conf"]),
    "listen-failed": Scenario({"t/a.conf": "x\n"}, ["run t --output-dir o --control nowhere/socket"]),
    "plugin-lock-not-found": _store("/x", "--plugin-lock-file nowhere"),
    "plugin-lock-invalid": Scenario(_store("/x").files | {"lock": "nonsense\n"}, [_LOCKED]),
    "fixtures-invalid": Scenario(
        {"values.yaml": '"nonsense": x\n', "a.conf": "x\n"}, ["render --values values.yaml a.conf"]
    ),
    "key-file-invalid": Scenario({"a.conf": "ENV://VALUE\n"}, [_KEPT, "!chmod 644 key", _REPLAY], _ENV),
    "seal-broken": Scenario({"a.conf": "ENV://VALUE\n"}, [_KEPT, "!rm key", _KEPT.replace("kept", "x"), _REPLAY], _ENV),
    "input-unreadable": Scenario({"t/a.conf": "x\n"}, ["!ln -s nothing t/b.conf", "render t --output-dir o"]),
    "input-not-found": Scenario({}, ["render app.yml"]),
    "input-symlink-loop": Scenario({"t/a.conf": "x\n"}, ["!ln -s ../t t/again", "render t --output-dir o"]),
    "plugin-source-invalid": Scenario({"plain/x": ""}, ["plugin build plain"]),
    "input-collision": Scenario({"t/a.conf": "x\n", "u/a.conf": "y\n"}, ["render t u --output-dir o"]),
    "token-path-empty": _template("password = AWSPARAMSTR://\n"),
    "token-key-path-empty": _template("password = AWSPARAMSTR:///db|\n"),
    "token-metadata-unclosed": _template("password = AWSPARAMSTR:///db[version=3\n"),
    "token-metadata-invalid": _template("password = AWSPARAMSTR:///db[optional=perhaps]\n"),
    "token-unclosed": _template("password = {{ AWSPARAMSTR:///db\n"),
    "token-prefix-unknown": Scenario({"a.conf": "password = AWSPARAMSTORE:///db\n"}, ["check --strict a.conf"]),
    "template-not-in-format": Scenario({"a.json": '{"password": "ENV://VALUE", }\n'}, ["render a.json"], _ENV),
    "variable-unset": _template("home = ${NOT_SET}\n", "--envsubst"),
    "value-not-found": _store("/none"),
    "key-not-found": _store("/json|b"),
    "key-ambiguous": _store("/json|$..n"),
    "value-not-structured": _store("/text|a"),
    "reference-invalid": _store("/reference"),
    "configuration-invalid": Scenario(
        _store("/x").files | {"injector.yaml": _HEAD + "plugins: {configuration: {demo: {endpoint: x}}}\n"},
        ["render --config injector.yaml --plugin-path plugins a.conf"],
    ),
    "backend-unavailable": _store("/away"),
    "backend-throttled": _store("/throttled", "--timeout 10s"),
    "backend-timeout": _store("/slow", INJECTOR_PLUGIN_CALL_TIMEOUT="500ms"),
    "deadline-exceeded": _store("/slow", "--timeout 10s"),
    "sidecar-no-answer": Scenario({}, ["status --control nowhere.sock"]),
    "access-denied": _store("/denied"),
    "credentials-refused": _store("/credentials"),
    "plugin-not-found": _template("password = VAULT:///secret___db\n"),
    "plugin-refused": Scenario(
        _store("/x").files, [f"!chmod 644 plugins/demo/demo-{PLATFORM}", "render --plugin-path plugins a.conf"]
    ),
    "plugin-checksum-mismatch": Scenario(
        _store("/x").files, [_LOCK, f"!echo >> plugins/demo/demo-{PLATFORM}", _LOCKED]
    ),
    "plugin-not-locked": Scenario(
        _store("/x").files, ["!mv plugins later; mkdir plugins", _LOCK, "!mv later/demo plugins", _LOCKED]
    ),
    "plugin-install-failed": Scenario(
        {f"demo-{PLATFORM}": "no program\n"},
        [f"plugin install ./demo-{PLATFORM} --max-size 5 --plugin-path plugins --sha256 {_SHA}"],
    ),
    "plugin-source-unavailable": Scenario(
        {}, [f"plugin install https://127.0.0.1:1/demo-linux-amd64 --plugin-path plugins --sha256 {_SHA}"]
    ),
    "plugin-start-failed": _plugin(SCRIPT + "echo 'libdemo.so is missing' >&2\nexit 3\n"),
    "plugin-start-timeout": _plugin(SCRIPT + "exec sleep 60\n", INJECTOR_PLUGIN_START_TIMEOUT="1s"),
    "plugin-handshake-failed": _plugin(SCRIPT + "echo '9|9|unix|/nowhere|grpc'\nexec sleep 60\n"),
    "plugin-crashed": _store("/exit", INJECTOR_LOG_LEVEL="error"),
    "plugin-answer-invalid": _store("/large", INJECTOR_MAX_VALUE_SIZE="1k"),
    "value-unfit": Scenario(
        {"a.xml": "<a>DEMO:///zero</a>\n", f"plugins/demo/demo-{PLATFORM}*": STORE},
        ["render --plugin-path plugins a.xml"],
    ),
    "check-failed": Scenario(
        {
            "a.conf": "password = ENV://VALUE\n",
            "injector.yaml": _HEAD + 'check: [sh, -c, "echo \'no such directive\' >&2; exit 1", "{file}"]\n',
        },
        ["render --config injector.yaml a.conf -o out"],
        _ENV,
    ),
    "output-unwritable": Scenario({"a.conf": "x\n", "o/x": ""}, ["render a.conf -o o"]),
    "output-unreadable": Scenario({"a.conf": "x\n"}, ["!mkfifo pipe", "diff a.conf -o pipe"]),
    "output-outside-root": Scenario(
        {"t/d/a.conf": "x\n", "o/x": "", "e/x": ""}, ["!ln -s ../e o/d", "render t --output-dir o"]
    ),
    "project-exists": Scenario({"demo/x": ""}, ["plugin new demo"]),
    "environment-invalid": Scenario({"a.env": "no name\n"}, ["exec --env-template a.env -- true"]),
    "command-not-found": Scenario({}, ["exec -- no-such-command"]),
    "command-not-executable": Scenario({"tool": "x\n"}, ["exec -- ./tool"]),
}

WITHOUT_TEXT = {
    "template-invalid": "only its leaves are met; each has a text",
    "input-changed": "a mount that is replaced faster than it can be read; tests/unit/app has it",
    "token-not-utf8": "the line that is shown holds what is no text",
    "plugin-failed": "its message is about this machine's temporary directory",
    "plugin-keeps-crashing": "needs a process that lasts; tests/integration/test_supervised_plugin.py has it",
    "plugin-build-failed": "its message is that of the tool",
    "output-partly-written": "needs a disk that fails between two renames; tests/unit/output has it",
    "notify-failed": "told in the sidecar's log and /status; tests/unit/notify has it",
    "notify-no-process": "as notify-failed",
    "notify-timeout": "as notify-failed",
    "notify-denied": "as notify-failed",
    "notify-not-found": "as notify-failed",
    "notify-postponed": "as notify-failed",
}
"""Codes without a text, and why. Those of WASM, connections and the webhook are held by their own tests."""

OTHERS = (
    "value-empty",
    "wasm-",
    "plugin-guest-",
    "plugin-http-",
    "connection-",
    "admission-",
    "review-",
    "certificate-",
    "cluster-",
)


def text_of(code: str) -> str:
    """What the command prints for *code*: how it was called, standard error, and how it ended."""
    scenario = SCENARIOS[code]
    base = Path(tempfile.mkdtemp(prefix="et-", dir="/tmp"))
    try:
        work = base / "work"
        (base / "tmp").mkdir()
        for name, text in scenario.files.items():
            path = work / name.removesuffix("*")
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o755 if name.endswith("*") else 0o644)
        work.mkdir(exist_ok=True)
        environment = {"PATH": os.environ["PATH"], "HOME": str(base), "TMPDIR": str(base / "tmp")}
        for command in scenario.commands:
            done = _run(command, work, environment | scenario.environment)
        return f"$ injector {_told(command, base)}\n{_told(done.stderr, base)}[exit code {done.returncode}]\n"
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _run(command: str, work: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    argv = ["/bin/sh", "-c", command[1:]] if command.startswith("!") else [str(INJECTOR), *command.split()]
    return subprocess.run(
        argv,
        check=False,
        capture_output=True,
        text=True,
        cwd=work,
        env=environment,
        timeout=100,
        stdin=subprocess.DEVNULL,
        umask=0o022,
    )


def _told(text: str, base: Path) -> str:
    text = text.replace(f"{base}/work", "<here>").replace(str(base), "<home>").replace(PLATFORM, "<platform>")
    text = text.replace(PLATFORM.replace("-", "/"), "<platform>")
    text = re.sub(rf"uid {os.geteuid()}\b", "uid <uid>", text)
    text = re.sub(r"\b[0-9a-f]{12,64}\b", "<hash>", text)
    return re.sub(r"\b[0-9]+(\.[0-9]+)? attempts", "<number> attempts", text)


def main(arguments: list[str]) -> int:
    """Writes the texts; exit code 1 when one of them is not of its code."""
    TEXTS.mkdir(exist_ok=True)
    wrong = 0
    for code in arguments or SCENARIOS:
        text = text_of(code)
        if f"[{code}]" not in text:
            wrong = 1
            print(f"{code}: another error was met\n{text}", file=sys.stderr)
        else:
            (TEXTS / f"{code}.txt").write_text(text, encoding="utf-8")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
