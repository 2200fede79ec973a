"""
Rollouts: the real process with the real client, against a double of the API server that knows one Deployment.

The same against a real API server is in tests/integration/test_rollout_cluster.py.
"""

from __future__ import annotations

import asyncio
import http.server
import io
import json
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from injector.errors import NotifyDenied, NotifyError, NotifyFailed, NotifyNotFound, NotifyPostponed, NotifyTimeout
from injector.kube.rollout import HASH_ANNOTATION, TIME_ANNOTATION, content_hash
from injector.notify.carry_out import Changes
from injector.notify.rollouts import fingerprint, restart
from injector.settings.actions import RolloutAction
from injector.telemetry.logs import Level, Log

# Each rollout imports the client in a process of its own: seconds on a loaded machine.
pytestmark = pytest.mark.timeout(400)

PATH = "/apis/apps/v1/namespaces/shop/deployments/web"


class ApiServer:
    """One Deployment, changed by merge patches under optimistic locking, as the real one does it."""

    def __init__(self, kubeconfig: Path) -> None:
        self.version = 1
        self.restarts = 0
        self.annotations: dict[str, str] = {}
        self.status = 0
        self.headers: dict[str, str] = {}
        self.steal_after_reads = 0
        self.bodies: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.reply(*server.read(self.path))

            def do_PATCH(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                server.bodies.append(body)
                self.reply(*server.patch(self.path, json.loads(body)))

            def reply(self, status: int, answer: dict[str, Any]) -> None:
                body = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "c", "cluster": {"server": url}}],
                    "users": [{"name": "u", "user": {"token": "hunter2-token"}}],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
                    "current-context": "x",
                }
            )
        )
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def read(self, path: str) -> tuple[int, dict[str, Any]]:
        if self.status or path != PATH:
            return self.status or 404, {"kind": "Status", "message": "secret-of-the-server"}
        answer = self.deployment()
        if self.steal_after_reads:
            self.steal_after_reads -= 1
            self.version += 1
        return 200, answer

    def patch(self, path: str, patch: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        assert path == PATH
        if patch["metadata"]["resourceVersion"] != str(self.version):
            return 409, {"kind": "Status"}
        self.annotations |= patch["spec"]["template"]["metadata"]["annotations"]
        self.version += 1
        self.restarts += 1
        return 200, self.deployment()

    def deployment(self) -> dict[str, Any]:
        metadata = {"name": "web", "uid": "uid-of-web", "resourceVersion": str(self.version)}
        template = {"metadata": {"annotations": self.annotations}, "spec": {"containers": []}}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


@pytest.fixture
def api(tmp_path: Path):
    server = ApiServer(tmp_path / "kubeconfig")
    yield server
    server.server.shutdown()
    server.server.server_close()


async def roll_out(tmp_path: Path, *digests: str, min_interval: float = 0.001, **options: Any) -> str:
    given = {"workload": "deployment", "resource": "web", "min_interval": min_interval, "timeout": 300.0} | options
    environment = {"KUBECONFIG": str(tmp_path / "kubeconfig"), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    changes = Changes(
        templates=("a",), outputs=("/out/a",), digests=tuple((f"{n}.conf", digest) for n, digest in enumerate(digests))
    )
    log = Log(Level.DEBUG, stream=io.StringIO())
    answer = await restart(RolloutAction(name="r", **given), changes, environment=environment, log=log)
    return answer.result


async def test_new_content_restarts_once_however_many_replicas_see_it(api: ApiServer, tmp_path: Path) -> None:
    assert await roll_out(tmp_path, "d1") == "restarted"
    results = await asyncio.gather(*(roll_out(tmp_path, "d1") for _ in range(3)))
    assert results == ["current"] * 3
    assert api.restarts == 1
    assert re.fullmatch("[0-9a-f]{32}", api.annotations[HASH_ANNOTATION])
    assert TIME_ANNOTATION in api.annotations
    await asyncio.sleep(1.1)  # the time is kept in whole seconds
    assert await roll_out(tmp_path, "d2") == "restarted"
    assert api.restarts == 2


async def test_replicas_at_the_same_moment_make_one_restart(api: ApiServer, tmp_path: Path) -> None:
    results = await asyncio.gather(*(roll_out(tmp_path, "d1", min_interval=600) for _ in range(3)))
    assert sorted(results) == ["current", "current", "restarted"]
    assert api.restarts == 1


async def test_a_workload_that_others_change_meanwhile_is_read_again(api: ApiServer, tmp_path: Path) -> None:
    api.steal_after_reads = 2
    assert await roll_out(tmp_path, "d1") == "restarted"
    api.steal_after_reads = 100
    api.annotations.clear()
    with pytest.raises(NotifyFailed, match="changed by others all the time"):
        await roll_out(tmp_path, "d1")


async def test_two_restarts_keep_their_distance(api: ApiServer, tmp_path: Path) -> None:
    assert await roll_out(tmp_path, "d1") == "restarted"
    with pytest.raises(NotifyPostponed) as caught:
        await roll_out(tmp_path, "d2", min_interval=600)
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 600
    assert api.restarts == 1
    for turn, wrong in enumerate(("not a time", "2199-01-01T00:00:00+00:00"), start=2):
        api.annotations[TIME_ANNOTATION] = wrong
        assert await roll_out(tmp_path, f"d{turn}", min_interval=600) == "restarted"


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, NotifyDenied, "the API server does not know us"),
        (403, NotifyDenied, "deployment web in namespace shop: the verb get is not allowed"),
        (404, NotifyNotFound, "deployment web in namespace shop does not exist"),
        (429, NotifyFailed, "deployment web in namespace shop: the API server answered with status 429"),
        (503, NotifyFailed, "deployment web in namespace shop: the API server answered with status 503"),
    ],
)
async def test_a_refusal_is_told_by_its_kind(
    api: ApiServer, tmp_path: Path, status: int, error: type[NotifyError], message: str
) -> None:
    api.status, api.headers = status, {"Retry-After": "7"} if status == 429 else {}
    with pytest.raises(error) as caught:
        await roll_out(tmp_path, "d1")
    assert caught.value.message == message
    assert caught.value.retry_after == (7 if status == 429 else None)
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"


async def test_an_api_server_that_is_down_is_told(api: ApiServer, tmp_path: Path) -> None:
    api.server.shutdown()
    api.server.server_close()
    with pytest.raises(NotifyFailed, match="the API server cannot be reached"):
        await roll_out(tmp_path, "d1")


async def test_no_way_to_a_cluster_is_told(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("{}")
    with pytest.raises(NotifyFailed, match="there is no way to a cluster") as caught:
        await roll_out(tmp_path, "d1")
    assert "KUBECONFIG" in str(caught.value.hint)


async def test_a_rollout_that_takes_too_long_is_killed(api: ApiServer, tmp_path: Path) -> None:
    with pytest.raises(NotifyTimeout, match="deployment web took longer than"):
        await roll_out(tmp_path, "d1", timeout=0.05)


async def test_without_the_extra_it_is_said_what_to_install(tmp_path: Path, monkeypatch) -> None:
    # An interpreter that has everything but `kubernetes`.
    wrapper = tmp_path / "python"
    hide = "import sys, runpy; sys.modules['kubernetes'] = None; sys.argv = sys.argv[1:]"
    run = "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    wrapper.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} -c "{hide}; {run}" "$@"\n')  # without -P -m
    wrapper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(wrapper))
    with pytest.raises(NotifyFailed, match="needs the Python package kubernetes") as caught:
        await roll_out(tmp_path, "d1")
    assert caught.value.hint == "install kube-config-injector[kube]"


async def test_a_process_that_dies_is_a_failure(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(NotifyFailed, match="gave no answer: exit code 1"):
        await roll_out(tmp_path, "d1")


def test_the_annotation_does_not_depend_on_order_and_is_no_plain_hash() -> None:
    one, other = fingerprint([("a", "1"), ("b", "2")]), fingerprint([("b", "2"), ("a", "1")])
    assert one == other
    assert fingerprint([("a", "2"), ("b", "1")]) != one
    assert content_hash(one, "uid-1") == content_hash(other, "uid-1")
    assert content_hash(one, "uid-1") != content_hash(one, "uid-2")
    assert content_hash(one, "uid-1") not in one


async def test_a_sidecar_that_told_a_rollout_holds_no_kubernetes(api: ApiServer, tmp_path: Path) -> None:
    assert await roll_out(tmp_path, "d1") == "restarted"
    assert "kubernetes" not in sys.modules
