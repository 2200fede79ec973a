"""Start-up is paid in every pod: what the command imports and starts is pinned."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "grpc",
    "google.protobuf",
    "kubernetes",
    "wasmtime",
    "starlette",
    "uvicorn",
    "botocore",
    "boto3",
    "yaml",
    "structlog",
    "rich",
    "prometheus_client",
    "opentelemetry",
}

MOST_OF_OURS = 80  # of our own modules, in a render of one token; each is 0.2 ms


def modules_after(code: str, *, cwd: Path | None = None) -> set[str]:
    """The modules of a fresh interpreter that ran *code*; -P keeps this directory out of it."""
    script = f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)), file=sys.__stderr__)"
    command = [sys.executable, "-P", "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=cwd)
    return set(json.loads(run.stderr.splitlines()[-1]))


def test_the_command_imports_nothing_heavy() -> None:
    assert not modules_after("import injector.cli.main") & (HEAVY | {"asyncio"})


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["version"],
        ["render", "--help"],
        ["plugin", "list"],
        ["plugin", "--help"],
        ["webhook", "--help"],
        ["ui", "--help"],
        ["plugin", "new", "--help"],
        ["connection", "--help"],
        ["connection", "add", "--help"],
        ["connection", "list"],
        ["plugin", "precompile", "--help"],
        ["plugin", "call", "--help"],
    ],
)
def test_commands_that_need_no_backend_import_none(arguments: list[str]) -> None:
    code = f"from injector.cli.main import main\nassert main({arguments!r}) == 0"
    assert not modules_after(code) & HEAVY


def test_a_render_without_plugins_does_without_grpc(tmp_path: Path) -> None:
    (tmp_path / "template").write_text("a=ENV://DEMO")
    code = (
        "import os; os.environ['DEMO'] = 'x'\n"
        "from injector.cli.main import main\nassert main(['render', 'template']) == 0"
    )
    assert not modules_after(code, cwd=tmp_path) & HEAVY


def test_a_render_imports_no_more_of_the_library_than_it_needs(tmp_path: Path) -> None:
    (tmp_path / "template").write_text("a=ENV://DEMO")
    code = (
        "import os; os.environ['DEMO'] = 'x'\n"
        "from injector.cli.main import main\nassert main(['render', 'template']) == 0"
    )
    loaded = modules_after(code, cwd=tmp_path)
    unused = {"random", "hashlib", "secrets", "difflib", "tempfile", "shutil", "email", "importlib.metadata"}
    assert not loaded & unused
    ours = {name for name in loaded if name.split(".")[0] == "injector"}
    assert not {name for name in ours if name.startswith(("injector.render.keys", "injector.wire"))}
    assert len(ours) <= MOST_OF_OURS, sorted(ours)


def test_a_certificate_is_made_without_all_that_the_library_can_do() -> None:
    code = (
        "from injector.wire.certificates import self_signed\n"
        "from injector.wire.tls import TlsSession, make_context\n"
        "identity = self_signed()\n"
        "context = make_context(identity, peer=identity.certificate, server_side=False)\n"
        "TlsSession(context, peer=identity.certificate, server_side=False)"
    )
    loaded = modules_after(code)
    dear = ("cryptography.hazmat.backends.openssl", "cryptography.x509", "cryptography.hazmat.primitives.ciphers")
    assert not {name for name in loaded if name.startswith((*dear, "encodings.idna", "random"))}


@pytest.mark.parametrize(("name", "absent"), [("plain.conf", "injector.render.fitting"), ("app.json", "yaml")])
def test_only_the_formats_that_are_used_are_loaded(tmp_path: Path, name: str, absent: str) -> None:
    (tmp_path / name).write_text('"ENV://DEMO"')
    code = (
        "import os; os.environ['DEMO'] = 'x'\n"
        f"from injector.cli.main import main\nassert main(['render', {name!r}]) == 0"
    )
    assert absent not in modules_after(code, cwd=tmp_path)


def test_a_render_without_connections_does_without_their_store(tmp_path: Path) -> None:
    (tmp_path / "template").write_text("a=ENV://HOME")
    code = "from injector.cli.main import main\nassert main(['render', 'template']) == 0"
    assert not modules_after(code, cwd=tmp_path) & {"sqlite3", "cryptography", "injector.connections.store"}


def test_version_starts_no_thread_and_no_process() -> None:
    script = (
        "import threading, os\n"
        "started = []\n"
        "original = threading.Thread.start\n"
        "threading.Thread.start = lambda self: (started.append(self.name), original(self))[1]\n"
        "from injector.cli.main import main\n"
        "assert main(['version']) == 0\n"
        "assert started == [] and threading.active_count() == 1, started\n"
        "assert len(os.listdir('/proc/self/task')) == 1, 'a native thread'\n"
        "assert open('/proc/self/task/%d/children' % os.getpid()).read() == ''\n"
    )
    run = subprocess.run([sys.executable, "-P", "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr


def test_python_m_injector_is_the_command_and_loads_no_more_than_it() -> None:
    def run(*how: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-X", "importtime", *how]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    def loaded(done: subprocess.CompletedProcess[str]) -> set[str]:
        return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}

    module = run("-m", "injector", "version")
    code = run("-c", "import sys; from injector.cli.start import entry; sys.argv[1:] = ['version']; entry()")
    assert module.stdout == code.stdout
    more = {name.partition(".")[0] for name in loaded(module) - loaded(code)}
    assert more <= {"runpy", "pkgutil", "importlib"}, "beyond what -m itself is made of"


def test_python_m_injector_exits_as_the_command_does() -> None:
    command = [sys.executable, "-P", "-m", "injector", "rendr"]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert run.stderr.startswith("Usage: injector ")
