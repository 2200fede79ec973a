"""Connections in use: plugins as processes that are given credentials by name, and nothing of them anywhere else."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from connection_texts import secrets
from waiting import PATIENCE, until

from injector import errors
from injector.backends.discovery import SearchPath, SearchPlace
from injector.backends.executables import this_platform
from injector.backends.registry import HostOptions, Registry
from injector.connections.store import ConnectionStore
from injector.model.references import Reference, Value
from injector.telemetry.logs import Level, Log

INJECTOR = Path(sys.executable).with_name("injector")

PLUGIN = f"""#!{sys.executable}
import json, os, sys
from injector.sdk.errors import InvalidConfiguration, NotFound
from injector.sdk.serving import serve
from injector.sdk.store import Description, TokenStore

FOLDER = os.path.dirname(os.path.abspath(__file__))

def note(name, what):
    with open(os.path.join(FOLDER, name), "a") as file:
        file.write(json.dumps(what) + "\\n")

class Demo(TokenStore):
    def __init__(self):
        self.settings = {{}}

    def describe(self):
        return Description(prefixes=("DEMO",), largest_batch=50)

    def configure(self, connection, settings):
        note("configured", [os.getpid(), connection])
        if "refuse" in settings:
            raise InvalidConfiguration("cannot use " + settings["password"], hint="not " + settings["password"])
        if "crash" in settings:
            os._exit(3)
        self.settings[connection] = settings

    def resolve(self, references):
        for reference in references:
            settings = self.settings.get(reference.connection, {{}})
            word, _, rest = reference.path.partition(":")
            if word == "crash":
                os._exit(3)
            elif word == "quote":
                yield reference, NotFound("nothing for " + settings["password"], hint="try " + settings["password"])
            elif word == "log":
                print("logging in with", settings["password"], file=sys.stderr, flush=True)
                line = {{"@level": "error", "@message": "login", "password": settings["password"]}}
                print(json.dumps(line), file=sys.stderr, flush=True)
                yield reference, "logged"
            else:
                yield reference, reference.connection + "/" + settings.get("password", "ambient") + "/" + word

serve(Demo())
"""


@pytest.fixture
def store(tmp_path: Path) -> ConnectionStore:
    return ConnectionStore(tmp_path / "data" / "connections.db", tmp_path / "config" / "master.key")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The plugin path has the plugin of this file, which notes in its folder what it is configured with."""
    folder = tmp_path / "plugins" / "demo"
    folder.mkdir(parents=True)
    program = folder / f"demo-{this_platform().file_suffix}"
    program.write_text(PLUGIN)
    program.chmod(0o755)
    return folder


@pytest.fixture
async def registry(one_loop, folder, store, socket_base):
    """A registry with that plugin and the store; its log is in `registry.lines`."""
    search = SearchPath((SearchPlace(folder.parent, "plugin path"),), this_platform())
    lines = io.StringIO()
    registry = Registry(
        search,
        HostOptions(connections=store),
        environment={"PATH": os.environ["PATH"], "TMPDIR": str(socket_base)},
        log=Log(Level.DEBUG, stream=lines),
    )
    registry.lines = lines
    yield registry
    await registry.close()


def configured(folder: Path) -> list[tuple[int, str]]:
    file = folder / "configured"
    return [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


async def ask(backend, path: str, connection: str | None) -> object:
    """The text of the value, or the error."""
    try:
        async for _, outcome in backend.fetch([Reference("DEMO", path, connection=connection)], timeout=60):
            return outcome.data.reveal().decode() if isinstance(outcome, Value) else outcome
    except errors.InjectorError as error:
        return error


# --------------------------------------------------------------------------------------------------------- the plugin


async def test_two_connections_share_a_process_and_never_their_credentials(registry, store, folder) -> None:
    store.add("one", "DEMO", {}, secrets(password="canary-1"))
    store.add("two", "DEMO", {}, secrets(password="canary-2"))
    first, second, ambient = [await registry.open("DEMO", name) for name in ("one", "two", None)]
    asked = [(first, "one"), (second, "two"), (ambient, None)] * 20
    answers = await asyncio.gather(*(ask(backend, "x", name) for backend, name in asked))
    assert answers == ["one/canary-1/x", "two/canary-2/x", "/ambient/x"] * 20
    assert sorted(name for _, name in configured(folder)) == ["one", "two"]
    assert len({pid for pid, _ in configured(folder)}) == 1


async def test_a_process_that_replaces_another_is_configured_again_before_its_first_call(
    registry, store, folder
) -> None:
    for name in ("one", "two"):
        store.add(name, "DEMO", {}, secrets(password=f"canary-{name}"))
    backend = await registry.open("DEMO", "one")
    await registry.open("DEMO", "two")
    for _ in range(2):
        assert await ask(backend, "x", "one") == "one/canary-one/x"
        assert await ask(backend, "x", "two") == "two/canary-two/x"
        assert isinstance(await ask(backend, "crash", None), errors.PluginCrashed)
    by_process: dict[int, list[str]] = {}
    for pid, name in configured(folder):
        by_process.setdefault(pid, []).append(name)
    assert [sorted(names) for names in by_process.values()] == [["one", "two"]] * 2


async def test_a_connection_that_was_changed_holds_from_the_next_open_on(registry, store, folder) -> None:
    store.add("one", "DEMO", {}, secrets(password="canary-1"))
    backend = await registry.open("DEMO", "one")
    assert await ask(backend, "x", "one") == "one/canary-1/x"
    store.edit("one", settings={}, secrets=secrets(password="canary-2"))
    assert await registry.open("DEMO", "one") is backend
    assert await ask(backend, "x", "one") == "one/canary-2/x"
    assert await registry.open("DEMO", "one") is backend
    assert await ask(backend, "x", "one") == "one/canary-2/x"
    assert len(configured(folder)) == 2


async def test_a_connection_that_is_refused_costs_its_own_tokens_and_is_asked_about_once(
    registry, store, folder
) -> None:
    store.add("bad", "DEMO", {"refuse": True}, secrets(password="canary-bad"))
    store.add("good", "DEMO", {}, secrets(password="canary-good"))
    backend = await registry.open("DEMO", "bad")
    await registry.open("DEMO", "good")
    answers = await asyncio.gather(*(ask(backend, "x", name) for name in ("bad", "good") * 5))
    assert answers[1::2] == ["good/canary-good/x"] * 5
    for error in answers[::2]:
        assert isinstance(error, errors.InvalidConfiguration)
        assert "connection `bad`" in error.message
        assert "canary" not in error.message + str(error.hint)
    assert sorted(name for _, name in configured(folder)) == ["bad", "good"]
    store.edit("bad", settings={}, secrets={}, remove=["refuse"])
    await registry.open("DEMO", "bad")
    assert await ask(backend, "x", "bad") == "bad/canary-bad/x"


async def test_a_connection_that_crashes_the_plugin_is_told_as_a_crash(registry, store) -> None:
    store.add("bad", "DEMO", {"crash": True}, secrets(password="canary-bad"))
    backend = await registry.open("DEMO", "bad")
    assert isinstance(await ask(backend, "x", "bad"), errors.PluginCrashed)
    assert await ask(backend, "x", None) == "/ambient/x"


async def test_a_plugin_that_was_started_without_a_connection_takes_one_later(registry, store) -> None:
    backend = await registry.open("DEMO", None)
    assert await ask(backend, "x", None) == "/ambient/x"
    store.add("one", "DEMO", {}, secrets(password="canary-1"))
    assert await registry.open("DEMO", "one") is backend
    assert await ask(backend, "x", "one") == "one/canary-1/x"


async def test_no_call_goes_out_as_a_connection_that_was_not_opened(registry, store, folder) -> None:
    store.add("one", "DEMO", {}, secrets(password="canary-1"))
    backend = await registry.open("DEMO", None)
    assert isinstance(await ask(backend, "x", "one"), errors.InvalidReference)
    assert configured(folder) == []


async def test_unknown_connections_and_those_of_other_prefixes_are_told(registry, store) -> None:
    store.add("prod-eu", "DEMO", {}, {})
    store.add("vault", "VAULT", {}, {})
    with pytest.raises(errors.InvalidReference, match="there is no connection `prod-us`") as caught:
        await registry.open("DEMO", "prod-us")
    assert caught.value.hint == "did you mean prod-eu?"
    with pytest.raises(errors.InvalidReference, match="`vault` is for VAULT, and not for DEMO") as caught:
        await registry.open("DEMO", "vault")
    assert caught.value.hint == "for DEMO there is prod-eu"
    with pytest.raises(errors.InvalidReference, match="`prod-eu` is for DEMO") as caught:
        await registry.open("OTHER", "prod-eu")
    assert caught.value.hint == "for OTHER there is none"


async def test_a_plugin_of_protocol_1_takes_no_connection_and_says_so(start_backend, store, folder) -> None:
    from injector.backends.discovery import find

    store.add("one", "DEMO", {}, secrets(password="canary-1"))
    search = SearchPath((SearchPlace(folder.parent, "plugin path"),), this_platform())
    backend = await start_backend(find(search, "DEMO"), versions=(1,), connections={"one": store.load("one")})
    assert backend.protocol == 1
    error = await ask(backend, "x", "one")
    assert isinstance(error, errors.InvalidConfiguration)
    assert "protocol 1, which takes no connection" in error.message
    assert await ask(backend, "x", None) == "/ambient/x"


async def test_what_the_plugin_says_about_its_credentials_is_masked(registry, store) -> None:
    store.add("one", "DEMO", {}, secrets(password="canary-4711"))
    backend = await registry.open("DEMO", "one")
    error = await ask(backend, "quote", "one")
    assert isinstance(error, errors.ValueNotFound)
    assert "nothing for ***" in error.message
    assert "canary" not in error.message + str(error.hint)
    assert await ask(backend, "log", "one") == "logged"
    await until(lambda: registry.lines.getvalue().count("***") >= 2)
    assert "canary" not in registry.lines.getvalue()


# -------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def injector(tmp_path: Path):
    """Runs the command in an empty directory with a small environment."""

    def run(*arguments: str | Path, stdin: str = "", code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **env}
        done = subprocess.run(
            [INJECTOR, *arguments],
            input=stdin,
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            timeout=100,
        )
        assert done.returncode == code, done.stderr
        return done

    return run


AWS = {"AWS_EC2_METADATA_DISABLED": "true"}


@pytest.mark.timeout(400)  # nine commands, one after the other
def test_one_render_with_two_connections_of_parameter_store_gets_each_value_from_its_own(
    injector, ssm, moto_server, tmp_path
) -> None:
    import botocore.session

    for region in ("eu-west-1", "us-east-1"):
        client = botocore.session.Session().create_client(
            "ssm", region, endpoint_url=moto_server, aws_access_key_id="AKIATEST", aws_secret_access_key="test"
        )
        for number in range(25):
            client.put_parameter(Name=f"/app/p{number}", Value=f"{region}-{number}", Type="SecureString")
        name = "prod-eu" if region.startswith("eu") else "prod-us"
        options = ["--set", f"region={region}", "--set", f"endpoint={moto_server}", "--set", "accessKeyId=AKIATEST"]
        arguments = ["connection", "add", name, "--prefix", "awsparamstr", *options]
        injector(*arguments, "--secret-file", "secretAccessKey=-", stdin="canary-key\n")
    lines = [
        f"{name}.{number}=AWSPARAMSTR:///app/p{number}[connection={name}]"
        for number in range(25)
        for name in ("prod-eu", "prod-us")
    ]
    (tmp_path / "t").write_text("\n".join(lines))
    done = injector("render", "t", "-vv", **AWS)
    assert sorted(done.stdout.splitlines()) == sorted(
        f"{name}.{number}={region}-{number}"
        for number in range(25)
        for name, region in (("prod-eu", "eu-west-1"), ("prod-us", "us-east-1"))
    )
    assert "canary" not in done.stderr
    asked = injector("connection", "test", "prod-us", "--token", "/app/p3", **AWS)
    assert "took the connection prod-us" in asked.stderr
    assert f"answered /app/p3 with {len('us-east-1-3')} bytes" in asked.stderr
    called = injector("plugin", "call", "awsparamstr", "/app/p3", "--connection", "prod-us", **AWS)
    assert called.stdout == "us-east-1-3"
    nothing = injector("connection", "test", "prod-eu", "--token", "/none", code=4, **AWS)
    assert "no parameter '/none'" in nothing.stderr


def test_tokens_without_a_connection_have_the_default_one_of_their_prefix(injector, folder, tmp_path) -> None:
    path = ["--plugin-path", str(folder.parent)]
    for name in ("one", "two"):
        injector("connection", "add", name, "--prefix", "DEMO", "--secret-file", "password=-", stdin=f"pw-{name}\n")
    injector("connection", "add", "vault", "--prefix", "VAULT")
    (tmp_path / "a.conf").write_text("a=DEMO://x b=DEMO://y[connection=two] c=ENV://HOME\n")
    (tmp_path / "b.conf").write_text("a=DEMO://x\n")
    (tmp_path / "s.yaml").write_text(
        "apiVersion: config-injector.io/v1alpha1\nkind: Injector\nconnection: one, vault\n"
        "files:\n- match: b.conf\n  connection: two\n"
    )
    done = injector("render", "a.conf", "b.conf", "--output-dir", "out", "--config", "s.yaml", *path)
    assert done.stdout == ""
    assert (tmp_path / "out/a.conf").read_text() == f"a=one/pw-one/x b=two/pw-two/y c={tmp_path}\n"
    assert (tmp_path / "out/b.conf").read_text() == "a=two/pw-two/x\n"
    assert injector("render", "b.conf", *path).stdout == "a=/ambient/x\n"
    assert injector("render", "b.conf", "--connection", "one", *path).stdout == "a=one/pw-one/x\n"
    assert injector("render", "b.conf", *path, INJECTOR_CONNECTION="two").stdout == "a=two/pw-two/x\n"
    both = injector("render", "b.conf", "--connection", "one,two", *path, code=3)
    assert "`one` and `two` are both for DEMO" in both.stderr
    unknown = injector("render", "b.conf", "--connection", "onn", *path, code=3)
    assert "did you mean one?" in unknown.stderr
    explained = json.loads(injector("explain", "--format", "json", "b.conf", "--connection", "one", *path).stdout)
    assert explained["tokens"][0]["connection"] == "one"


def test_a_recorded_render_is_replayed_without_the_connections(injector, folder, tmp_path) -> None:
    injector("connection", "add", "one", "--prefix", "DEMO", "--secret-file", "password=-", stdin="pw-one")
    (tmp_path / "t").write_text("DEMO://x DEMO://y[connection=one]")
    options = ["--connection", "one", "--plugin-path", str(folder.parent), "--recording-key", "key"]
    done = injector("render", "t", "--record", "values", *options)
    assert done.stdout == "one/pw-one/x one/pw-one/y"
    injector("connection", "remove", "one", "--yes")
    assert injector("render", "t", "--replay", "values", *options).stdout == done.stdout


def test_a_mounted_secret_is_a_connection(injector, folder, tmp_path) -> None:
    mounted = tmp_path / "mounted" / "prod"
    mounted.mkdir(parents=True)
    (mounted / "prefix").write_text("DEMO")
    (mounted / "password").write_text("canary-mounted\n")
    (tmp_path / "t").write_text("DEMO://x[connection=prod]")
    where = {"INJECTOR_CONNECTIONS_DIRECTORY": "mounted"}
    done = injector("render", "t", "--plugin-path", str(folder.parent), **where)
    assert done.stdout == "prod/canary-mounted/x"
    assert injector("connection", "list", **where).stdout == "prod  DEMO           password=***\n"
    refused = injector("connection", "remove", "prod", "--yes", code=3, **where)
    assert "read only" in refused.stderr
    assert not (tmp_path / ".local").exists()


def test_add_show_edit_list_rotate_and_remove(injector, tmp_path) -> None:
    given = {"prefix": "DEMO", "settings": {"timeout": 5}, "secrets": {"password": "canary-1", "token": "canary-2"}}
    added = injector("connection", "add", "prod", "--from-json", "-", "--set", "zone=b", stdin=json.dumps(given))
    assert "added connection prod (DEMO): version 1, 2 settings, 2 secrets" in added.stderr
    assert f"made the master key {tmp_path}/.config/injector/master.key" in added.stderr
    shown = injector("connection", "show", "prod")
    assert [line.split() for line in shown.stdout.splitlines()[:2]] == [["name", "prod"], ["prefix", "DEMO"]]
    assert "password  ***" in shown.stdout
    (tmp_path / "secret").write_text("canary-3\n")
    arguments = ["--secret-file", "password=secret", "--unset", "token", "--rename", "prod-eu", "--format", "json"]
    edited = json.loads(injector("connection", "edit", "prod", *arguments).stdout)
    assert (edited["name"], edited["version"], edited["secrets"]) == ("prod-eu", 2, ["password"])
    listed = json.loads(injector("connection", "list", "--format", "json").stdout)
    assert listed == {"schemaVersion": 1, "connections": [{k: v for k, v in edited.items() if k != "schemaVersion"}]}
    rotated = json.loads(injector("connection", "rotate-key", "--forget", "--format", "json").stdout)
    assert (rotated["connections"], rotated["formerKeyFile"]) == (1, None)
    assert "version   2" in injector("connection", "show", "prod-eu").stdout
    assert "there is no terminal" in injector("connection", "remove", "prod-eu", code=2).stderr
    assert "removed connection prod-eu" in injector("connection", "remove", "prod-eu", "--yes").stderr
    assert "there is no connection" in injector("connection", "list").stderr


def test_a_secret_is_asked_for_without_an_echo(store, tmp_path) -> None:
    ours, theirs = pty.openpty()
    arguments = ["--prefix", "DEMO", "--secret", "password"]
    where = ["--connections-store", str(store.path), "--master-key-file", str(store.key_file)]
    process = subprocess.Popen(
        [INJECTOR, "connection", "add", "p", *arguments, *where],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    try:
        while b"password:" not in seen:  # by then the echo is off
            seen += os.read(ours, 4096)
        os.write(ours, b"canary-typed\n")
        with contextlib.suppress(OSError):  # the end of a terminal
            while data := os.read(ours, 4096):
                seen += data
    finally:
        os.close(ours)
        process.wait(PATIENCE)
    assert process.returncode == 0, seen
    assert b"added connection p" in seen
    assert b"canary" not in seen
    assert store.load("p").configuration() == {"password": "canary-typed"}


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        (["add", "p", "--secret", "x"], "", 2, "there is no terminal"),
        (["add", "p", "--prefix", "D", "--set", "apiKey=canary"], "", 2, "apiKey looks like a secret"),
        (["add", "p", "--prefix", "D", "--set", "canary"], "", 2, "--set is NAME=TEXT"),
        (["add", "p", "--prefix", "D", "--set", "x=canary\udcff"], "", 3, "x is not text in UTF-8"),
        (["add", "p", "--prefix", "D", "--from-json", "-"], '{"canary": 1}', 3, "is not what is expected"),
        (["add", "p", "--prefix", "D", "--from-json", "-"], '{"secrets": "canary', 3, "is not JSON"),
        (["add", "p", "--prefix", "D", "--from-json", "-", "--secret-file", "x=-"], "{}", 2, "read once only"),
        (["add", "p", "--prefix", "D", "--secret-file", "x=nowhere"], "", 3, "nowhere cannot be read"),
        (["add", "p", "--from-json", "-"], '{"secrets": {"x": "canary"}}', 2, "for which tokens"),
        (["add", "Prod EU", "--prefix", "D"], "", 3, "no name for a connection"),
        (["edit", "p"], "", 2, "nothing to change"),
        (["show", "p"], "", 3, "there is no connection `p`"),
        (["test", "p"], "", 3, "there is no connection `p`"),
        (["rotate-key", "--new-key", "nowhere", "--forget"], "", 2, "exclude each other"),
    ],
)
def test_what_cannot_be_done_is_told_without_what_was_given(injector, tmp_path, arguments, stdin, code, said) -> None:
    done = injector("connection", *arguments, stdin=stdin, code=code)
    assert said in done.stderr
    assert "canary" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / ".local").exists()


def test_the_tab_key_completes_names_of_connections(injector) -> None:
    for name in ("prod-eu", "prod-us", "dev"):
        injector("connection", "add", name, "--prefix", "DEMO")
    tab = {"_INJECTOR_COMPLETE": "bash_complete"}
    for words, number in ((["connection", "show", "pr"], 3), (["render", "--connection", "pr"], 3)):
        done = injector(**tab, COMP_WORDS=" ".join(["injector", *words]), COMP_CWORD=str(number))
        assert done.stdout.split() == ["plain,prod-eu", "plain,prod-us"]


def test_secrets_are_in_no_argument_list_no_environment_no_log_and_no_file(injector, folder, store, tmp_path) -> None:
    """While a render runs: its processes, all files below its home, and what it prints at the highest verbosity."""
    canary = "canary-4711-secret"
    injector("connection", "add", "one", "--prefix", "DEMO", "--secret-file", "password=-", stdin=canary)
    (tmp_path / "t").write_text("DEMO://x[connection=one] DEMO://log[connection=one] DEMO://quote[connection=one]")
    found: list[str] = []
    looked = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.005):
            for process in Path("/proc").iterdir():
                for name in ("cmdline", "environ"):
                    try:
                        data = (process / name).read_bytes() if process.name.isdigit() else b""
                    except OSError:
                        continue
                    if str(folder).encode() in data or b"CONFIGMANAGER_PLUGIN" in data:
                        looked.add(name)
                    if canary.encode() in data:
                        found.append(f"{process.name}/{name}")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        path = ["--plugin-path", str(folder.parent)]
        done = injector("render", "t", "-vv", *path, code=4, INJECTOR_LOG_FORMAT="json")
    finally:
        stop.set()
        thread.join()
    assert found == []
    assert looked == {"cmdline", "environ"}
    assert "***" in done.stderr
    assert canary not in done.stderr + done.stdout
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert canary.encode() not in file.read_bytes(), file
