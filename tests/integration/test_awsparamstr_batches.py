"""The AWSPARAMSTR plugin in protocol 2: how many calls of SSM references cost, and what one bad name costs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from waiting import PATIENCE

from injector import errors
from injector.model.references import Reference, Value
from injector.plan.planner import Account, Plan
from injector.resolve.resolver import Limits, resolve
from injector.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
PLUGIN = "#!/bin/sh\nexec {} -m injector_awsparamstr\n"
KEYS = {
    "AWS_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "AKIATEST",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}
ARN = "arn:aws:ssm:eu-west-1:123456789012:parameter"


class FakeSsm:
    """fake_ssm.py as a process."""

    def __init__(self, url: str) -> None:
        self.url = url

    def calls(self) -> list[tuple[str, list[str], str]]:
        with urllib.request.urlopen(f"{self.url}/calls") as answer:
            return [tuple(call) for call in json.load(answer)]

    def counts(self) -> dict[tuple[str, str], int]:
        return dict(Counter((operation, outcome) for operation, _, outcome in self.calls()))


@contextmanager
def serving(**options: float) -> Iterator[FakeSsm]:
    arguments = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, str(HERE / "fake_ssm.py"), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield FakeSsm(process.stdout.readline().strip())
        finally:
            process.terminate()


@pytest.fixture
def fake_ssm() -> Iterator[FakeSsm]:
    with serving() as server:
        yield server


@pytest.fixture
def start_aws(start_backend: Any, install: Callable[..., Any]) -> Callable[..., Any]:
    """`await start_aws(url)`: the plugin under our host."""
    candidate = install("awsparamstr", PLUGIN.format(sys.executable))

    async def start(url: str, **options: Any) -> Any:
        return await start_backend(candidate, **(KEYS | {"AWS_ENDPOINT_URL_SSM": url} | options))

    return start


def plan_of(*paths: str) -> Plan:
    references = tuple(
        Reference("AWSPARAMSTR", path.partition("[")[0], path.partition("[")[2].rstrip("]")) for path in paths
    )
    return Plan({Account("AWSPARAMSTR", None): references}, len(references))


async def run(backend: Any, *paths: str) -> dict[str, str]:
    """The text or the error's code of every reference, by `path[metadata]`."""

    async def open_backend(account: Account) -> Any:
        return backend

    answers = await resolve(plan_of(*paths), open_backend, limits=Limits(), log=Log(Level.OFF))
    return {
        str(reference).removeprefix("AWSPARAMSTR "): outcome.data.reveal().decode()
        if isinstance(outcome, Value)
        else outcome.code
        for reference, outcome in answers.items()
    }


# ---------------------------------------------------------------------------------------------------- against moto


@contextmanager
def counting(target: str) -> Iterator[tuple[str, Counter[str]]]:
    """A proxy in front of *target*, and how often each operation went through it."""
    counts: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            counts[self.headers["X-Amz-Target"].partition(".")[2]] += 1
            with urllib.request.urlopen(urllib.request.Request(target, body, dict(self.headers))) as answer:
                data = answer.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", counts
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_thousand_parameters_of_moto_are_a_hundred_calls(ssm, moto_server, start_aws) -> None:
    with ThreadPoolExecutor(8) as pool:
        put = lambda n: ssm.put_parameter(Name=f"/app/{n}", Value=f"v{n}", Type="SecureString")  # noqa: E731
        list(pool.map(put, range(1000)))
    with counting(moto_server) as (url, counts):
        answers = await run(await start_aws(url), *(f"/app/{n}" for n in range(1000)))
    assert answers == {f"/app/{n}": f"v{n}" for n in range(1000)}
    assert counts == {"GetParameters": 100}


async def test_versions_labels_and_arns_of_moto_are_each_their_own(ssm, moto_server, start_aws) -> None:
    for value in ("one", "two", "three"):
        ssm.put_parameter(Name="/app/v", Value=value, Type="String", Overwrite=True)
    ssm.label_parameter_version(Name="/app/v", ParameterVersion=2, Labels=["live"])
    ssm.put_parameter(Name="/app/w", Value="w", Type="String")
    backend = await start_aws(moto_server)
    assert await run(
        backend,
        *("/app/v", "/app/v[version=1]", "/app/v[label=live]", "/app/v[version=9]", "/app/v[label=none]"),
        *("/app/w", "/app/none", f"{ARN}/app/w"),
    ) == {
        "/app/v": "three",
        "/app/v[version=1]": "one",
        "/app/v[label=live]": "two",
        "/app/v[version=9]": "value-not-found",
        "/app/v[label=none]": "value-not-found",
        "/app/w": "w",
        "/app/none": "value-not-found",
        f"{ARN}/app/w": "w",
    }


async def test_region_endpoint_and_a_role_to_assume_come_by_configuration(ssm, moto_server, start_aws) -> None:
    ssm.put_parameter(Name="/a", Value="x", Type="String")
    settings = {"region": "eu-west-1", "endpoint": moto_server, "roleArn": "arn:aws:iam::123456789012:role/app"}
    nowhere = {"AWS_REGION": "", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    backend = await start_aws("http://127.0.0.1:9", **nowhere, AWS_ENDPOINT_URL_STS=moto_server, configuration=settings)
    assert await run(backend, "/a") == {"/a": "x"}
    await backend.close()
    # The role is really asked for: without STS there are no credentials.
    backend = await start_aws("http://127.0.0.1:9", **nowhere, configuration=settings)
    assert await run(backend, "/a") == {"/a": "backend-unavailable"}


async def test_a_setting_that_it_does_not_know_ends_the_start(start_aws) -> None:
    with pytest.raises(errors.InvalidConfiguration, match="awsparamstr has no setting 'regoin'"):
        await start_aws("http://127.0.0.1:9", configuration={"regoin": "x"})


# ------------------------------------------------------------------------------------------- what one bad name costs


async def test_a_missing_name_costs_itself_and_no_further_call(fake_ssm, start_aws) -> None:
    paths = [f"/app/{n}" for n in range(19)] + ["/app/missing"]
    answers = await run(await start_aws(fake_ssm.url), *paths)
    assert answers == {path: f"value of {path}" for path in paths[:19]} | {"/app/missing": "value-not-found"}
    assert fake_ssm.counts() == {("GetParameters", "ok"): 2}


@pytest.mark.parametrize(
    ("name", "code", "refusal"),
    [
        ("/app/denied", "access-denied", "AccessDeniedException"),
        ("/app/kms", "access-denied", "AccessDeniedException"),
        ("/app/bad name", "reference-invalid", "ValidationException"),
    ],
)
async def test_a_name_for_which_the_whole_call_is_refused_costs_itself_and_ten_more_calls(
    fake_ssm, start_aws, name, code, refusal
) -> None:
    paths = [f"/app/{n}" for n in range(19)]
    answers = await run(await start_aws(fake_ssm.url), *paths[:4], name, *paths[4:])
    assert answers == {path: f"value of {path}" for path in paths} | {name: code}
    assert fake_ssm.counts() == {
        ("GetParameters", "ok"): 1,
        ("GetParameters", refusal): 1,
        ("GetParameter", "ok"): 9,
        ("GetParameter", refusal): 1,
    }


async def test_metadata_that_makes_no_sense_costs_its_own_reference(fake_ssm, start_aws) -> None:
    assert await run(await start_aws(fake_ssm.url), "/a", "/b[stage=x]", "/c") == {
        "/a": "value of /a",
        "/b[stage=x]": "reference-invalid",
        "/c": "value of /c",
    }
    assert fake_ssm.counts() == {("GetParameters", "ok"): 1}


async def test_one_parameter_by_several_selectors_is_split_over_calls_that_ssm_takes(fake_ssm, start_aws) -> None:
    paths = ["/a", "/a[version=1]", "/a[version=2]", "/a[label=live]", f"{ARN}/a", "/b"]
    answers = await run(await start_aws(fake_ssm.url), *paths)
    assert answers == {
        "/a": "value of /a",
        "/a[version=1]": "value of /a:1",
        "/a[version=2]": "value of /a:2",
        "/a[label=live]": "value of /a:live",
        f"{ARN}/a": "value of /a",
        "/b": "value of /b",
    }
    assert {outcome for _, _, outcome in fake_ssm.calls()} == {"ok"}


async def test_a_single_reference_is_asked_by_get_parameter_whose_errors_say_more(fake_ssm, start_aws) -> None:
    backend = await start_aws(fake_ssm.url)
    assert await run(backend, "/a") == {"/a": "value of /a"}
    assert fake_ssm.counts() == {("GetParameter", "ok"): 1}


async def test_the_version_comes_with_the_value(fake_ssm, start_aws) -> None:
    backend = await start_aws(fake_ssm.url)
    asked = [Reference("AWSPARAMSTR", "/a"), Reference("AWSPARAMSTR", "/b", "version=3")]
    versions = {reference.path: value.version async for reference, value in backend.fetch(asked, timeout=PATIENCE)}
    assert versions == {"/a": "7", "/b": "3"}


# ------------------------------------------------------------------------------------------------------- throttling


@pytest.mark.fault(56, "all values, few calls refused")
async def test_a_thousand_parameters_at_40_calls_a_second_all_come_with_few_calls_refused(start_aws) -> None:
    with serving(rate=40, latency=0.02) as server:
        backend = await start_aws(server.url)
        started = time.monotonic()
        answers = await run(backend, *(f"/app/{n}" for n in range(1000)))
        seconds = time.monotonic() - started
        counts = server.counts()
    assert answers == {f"/app/{n}": f"value of /app/{n}" for n in range(1000)}
    assert counts[("GetParameters", "ok")] == 100
    assert sum(counts.values()) - 100 <= 30
    assert seconds < PATIENCE  # 1.5 s is the least that the service allows; a busy machine is slower


@pytest.mark.fault(57, "all get their values; each that is refused waits by itself")
async def test_a_hundred_runs_at_once_at_40_calls_a_second_all_end_right(start_aws) -> None:
    with serving(rate=40, latency=0.02) as server:
        backend = await start_aws(server.url)
        answers = await asyncio.gather(*(run(backend, f"/app/{n}") for n in range(100)))
        counts = server.counts()
    assert answers == [{f"/app/{n}": f"value of /app/{n}"} for n in range(100)]
    assert counts[("GetParameter", "ok")] == 100
    assert sum(counts.values()) <= 1000


def test_the_command_renders_a_thousand_parameters_with_a_hundred_calls(fake_ssm, tmp_path) -> None:
    template = tmp_path / "template"
    template.write_text("".join(f"k{n}={{{{ AWSPARAMSTR:///app/{n} }}}}\n" for n in range(1000)))
    settings = tmp_path / "injector.yaml"
    settings.write_text(
        "apiVersion: config-injector.io/v1alpha1\nkind: Injector\n"
        f"plugins: {{configuration: {{awsparamstr: {{region: eu-west-1, endpoint: '{fake_ssm.url}'}}}}}}\n"
    )
    keys = {name: value for name, value in KEYS.items() if name != "AWS_REGION"}
    done = subprocess.run(
        [Path(sys.executable).with_name("injector"), "render", "--config", settings, template],
        env=os.environ | keys,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(f"k{n}=value of /app/{n}\n" for n in range(1000))
    assert fake_ssm.counts() == {("GetParameters", "ok"): 100}
