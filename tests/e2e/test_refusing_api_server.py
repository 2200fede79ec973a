"""
The API server refuses for a while: too many requests (its own flow control), a token that has expired, a conflict.

injector watches nothing there, so no 410 can come: the tests of its rights show that it needs no `watch` and no `list`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import manifests
from e2e.cluster import Cluster, until
from e2e.conftest import Store
from e2e.node import Node, authority, server
from e2e.test_events_and_rights import EVENT_RULES, ROLLOUT_RULES, allow, ours
from e2e.test_webhook_admission import D, Webhook, created, webhook_of
from e2e.test_webhook_admission import pod as a_pod
from injector.errors import ClusterError
from injector.kube.api import ClusterApi
from injector.kube.events import EventWriter, News
from injector.kube.identity import Pod
from injector.webhook.keeper import SelfSignedKeeper

TEMPLATE = '{"password": "AWSPARAMSTR:///shop/db"}'
CREDENTIALS = "/var/run/secrets/kubernetes.io/serviceaccount"
WAITING = "import time\nwhile True: time.sleep(0.5)"


class NotingApi(ClusterApi):
    """Keeps the statuses of refusals."""

    def __init__(self, host: str, port: int, credentials: Path) -> None:
        super().__init__(host, port, credentials)
        self.refusals: list[int | None] = []

    def call(self, method: str, path: str, body: object = None, *, content_type: str = "application/json") -> Any:
        try:
            return super().call(method, path, body, content_type=content_type)
        except ClusterError as error:
            self.refusals.append(error.status)
            raise


def noting_api(namespace: Cluster, account: str, directory: Path) -> NotingApi:
    """The API server, as the service account *account*, whose credentials come to be in *directory*."""
    (directory / "token").write_text(namespace.kubectl("create", "token", account))
    (directory / "ca.crt").write_text(authority(namespace))
    return NotingApi(*server(namespace), directory)


@contextlib.contextmanager
def no_requests_of(cluster: Cluster, account: str, method: str, path: str) -> Iterator[None]:
    """
    The API server's flow control answers every request of the namespace's service account *account* with 429.

    It has one seat for them and no queue, and the seat is taken: by a request to *path*, which the account may make,
    and whose body does not come.
    """
    name = cluster.namespace
    api = {"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "metadata": {"name": name}}
    limited = {"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0}
    subject = {"kind": "ServiceAccount", "serviceAccount": {"name": account, "namespace": cluster.namespace}}
    every = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
    cluster.apply(
        {
            **api,
            "kind": "PriorityLevelConfiguration",
            "spec": {"type": "Limited", "limited": {**limited, "limitResponse": {"type": "Reject"}}},
        },
        {
            **api,
            "kind": "FlowSchema",
            "spec": {
                "matchingPrecedence": 100,
                "priorityLevelConfiguration": {"name": name},
                "rules": [{"subjects": [subject], "resourceRules": [every]}],
            },
        },
    )
    host, port = server(cluster)
    token = cluster.kubectl("create", "token", account)
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    context = ssl.create_default_context(cadata=authority(cluster))

    def seated() -> ssl.SSLSocket | None:
        """None when it was answered, so has no seat: the schema is not in force yet, or the seat is taken."""
        request = context.wrap_socket(socket.create_connection((host, port), timeout=1), server_hostname=host)
        try:
            request.sendall(head.encode())
            request.recv(1)
        except TimeoutError:
            return request
        request.close()
        return None

    with contextlib.ExitStack() as requests:
        try:
            known = "/debug/api_priority_and_fairness/dump_priority_levels"
            until(lambda: f"{name}," in cluster.kubectl("get", "--raw", known), what="the priority level")
            requests.enter_context(until(seated, what="a seat"))
            yield
        finally:
            cluster.kubectl("delete", "flowschema,prioritylevelconfiguration", name)


def credentials(namespace: Cluster, token: str) -> dict[str, Any]:
    """What the kubelet would mount, as a Secret that a test can change."""
    data = {"token": token, "ca.crt": authority(namespace), "namespace": namespace.namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "credentials"}, "stringData": data}


def deploy(namespace: Cluster, image: str) -> str:
    """A sidecar with Events and the rollout of the Deployment `other`, with the Secret's credentials; it is ready."""
    side = manifests.sidecar(image, "--refresh", "1s", "--events", "--notify", "rollout:deployment/other")
    side["volumeMounts"].append({"name": "credentials", "mountPath": CREDENTIALS, "readOnly": True})
    side["env"] += [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.{field}"}}}
        for name, field in (("POD_NAME", "name"), ("POD_NAMESPACE", "namespace"), ("POD_UID", "uid"))
    ]
    spec = manifests.pod("templates", [manifests.app(image, WAITING)], init=[side], automountServiceAccountToken=False)
    spec["volumes"].append({"name": "credentials", "secret": {"secretName": "credentials"}})
    other = manifests.workload("other", {"containers": [manifests.app(image, WAITING) | {"volumeMounts": []}]})
    other["spec"]["replicas"] = 0
    namespace.apply(manifests.config_map("templates", app__json=TEMPLATE), manifests.workload("shop", spec), other)
    pod = namespace.pod_of(app="shop")
    namespace.ready(pod)
    return pod


@pytest.mark.fault(82, "too many requests, or an expired token: Events and rollouts are late, files are not")
@pytest.mark.parametrize("status", [429, 401])
def test_refused_for_a_while_events_and_rollouts_are_late_and_files_are_not(
    node: Node, namespace: Cluster, store: Store, image: str, reads: Callable[[str, str], str], status: int
) -> None:
    allow(namespace, EVENT_RULES + ROLLOUT_RULES)
    account = namespace.get("serviceaccount", "app")
    # Signed in one way both, so that the expiry alone makes the difference.
    namespace.apply(credentials(namespace, node.token(account, expires_in=3600)))
    store.put(shop__db="one")
    pod = deploy(namespace, image)
    until(lambda: "ConfigRendered" in ours(namespace, pod), what="the first Event")
    events = f"/apis/events.k8s.io/v1/namespaces/{namespace.namespace}/events"
    with contextlib.ExitStack() as trouble:
        if status == 429:
            trouble.enter_context(no_requests_of(namespace, "app", "POST", events))
        else:
            namespace.apply(credentials(namespace, node.token(account, expires_in=-60)))
        until(lambda: _asked(namespace, pod) == status, what=f"the status {status}")
        store.put(shop__db="two")
        until(lambda: json.loads(reads(pod, "/config/app.json"))["password"] == "two", what="the new value")
        until(lambda: f"status {status}" in namespace.logs(pod, "injector"), what="the complaint about Events")
        assert namespace.get("deployment", "other")["metadata"]["generation"] == 1
        assert "ConfigUpdated" not in ours(namespace, pod)
    if status == 401:
        namespace.apply(credentials(namespace, node.token(account, expires_in=3600)))
    until(lambda: "ConfigUpdated" in ours(namespace, pod), what="the Event of the change", seconds=150)
    until(lambda: namespace.get("deployment", "other")["metadata"]["generation"] == 2, what="the rollout", seconds=150)
    assert namespace.logs(pod, "injector").count("Events cannot be written") == 1


def _asked(namespace: Cluster, pod: str) -> int:
    """What the API server answers the sidecar's service account at the moment."""
    program = """
import os
from injector.errors import ClusterError
from injector.kube.api import ClusterApi
try:
    ClusterApi.of_pod(os.environ).call("GET", "/apis/apps/v1/namespaces/none/deployments/none")
except ClusterError as error:
    print(error.status)
"""
    return int(namespace.sh(pod, "injector", "/usr/local/lib/injector/bin/python", "-c", program) or 0)


@pytest.mark.fault(82, "the webhook goes on with its certificate while it is refused, and renews it afterwards")
@pytest.mark.parametrize("status", [429, 401])
def test_refused_for_a_while_the_webhook_goes_on_and_renews_later(node: Node, namespace: Cluster, status: int) -> None:
    secret = f"/api/v1/namespaces/{namespace.namespace}/secrets/tls"
    with webhook_of(namespace) as webhook, contextlib.ExitStack() as trouble:
        account = namespace.get("serviceaccount", "webhook")
        if status == 429:
            trouble.enter_context(no_requests_of(namespace, "webhook", "PUT", secret))
        else:
            webhook.show_token(node.token(account, expires_in=-60))
        until(lambda: f"status {status}" in webhook.log.read_text(), what="the complaint")
        namespace.kubectl("patch", "secret", "tls", "--type=merge", "-p", '{"data": null}')
        assert f"{D}status" in json.dumps(created(namespace, a_pod()))
        assert "data" not in namespace.get("secret", "tls")
        trouble.close()
        webhook.show_token(node.token(account, expires_in=3600))
        until(lambda: "tls.crt" in namespace.get("secret", "tls").get("data", {}), what="the new certificate")
        assert f"{D}status" in json.dumps(created(namespace, a_pod()))


@pytest.mark.fault(82, "a workload that somebody changes at the same moment is read again, and restarted once")
def test_a_conflict_makes_a_rollout_look_again(namespace: Cluster) -> None:
    """Between reading and writing another client changes the Deployment: the API server answers 409, truly."""
    other = manifests.workload("other", {"containers": [{"name": "app", "image": "none"}]})
    other["spec"]["replicas"] = 0
    namespace.apply(other)
    program = """
import subprocess, sys
from injector.kube import rollout
from injector.kube.messages import RolloutRequest
namespace, reads, conflicts = sys.argv[1], [], []
read, annotate = rollout._Workload.read, rollout._Workload.annotate
def read_and_disturb(self):
    found = read(self)
    reads.append(found.metadata.resource_version)
    if len(reads) <= 2:
        labels = ["kubectl", "-n", namespace, "label", "deployment", "other", f"turn=t{len(reads)}", "--overwrite"]
        subprocess.run(labels, check=True, capture_output=True)
    return found
def note(self, content, *, version):
    done = annotate(self, content, version=version)
    conflicts.append(not done)
    return done
rollout._Workload.read, rollout._Workload.annotate = read_and_disturb, note
request = RolloutRequest("deployment", "other", namespace, "ab" * 32, 0.0, 60.0)
print(rollout.restart(request).result, conflicts)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, namespace.namespace],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "KUBECONFIG": namespace.kubeconfig},
    )
    assert done.stdout.strip() == "restarted [True, True, False]", done.stderr
    assert namespace.get("deployment", "other")["metadata"]["generation"] == 2


@pytest.mark.fault(82, "an Event whose answer was lost is not told a second time")
def test_an_event_that_is_there_already_counts_as_told(namespace: Cluster, tmp_path: Path) -> None:
    allow(namespace, EVENT_RULES)
    api = noting_api(namespace, "app", tmp_path)
    writer = EventWriter(api, Pod(namespace.namespace, "shop"))
    assert writer.write(News("Normal", "Tested", "told"))
    writer._told.clear()  # as it is when the answer did not come
    assert writer.write(News("Normal", "Tested", "told"))
    assert api.refusals == [409]
    assert len(namespace.items("events", "--field-selector", "reason=Tested")) == 1


@pytest.mark.fault(83, "replicas that find no Secret at the same moment agree on one certificate; who is late reads it")
def test_replicas_that_write_at_the_same_moment_agree_on_one_certificate(
    namespace: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Four views of one Secret that is missing: of those that write, one wins, and the others are told 409."""
    webhook = Webhook(namespace, tmp_path_factory.mktemp("webhook"))
    try:
        webhook.prepare()
        webhook.configure(1)
        apis = [noting_api(namespace, "webhook", tmp_path_factory.mktemp("api")) for _ in range(4)]
        barrier = threading.Barrier(len(apis))
        found: list[bytes] = []

        def look(api: NotingApi) -> None:
            keeper = SelfSignedKeeper(
                api, namespace=namespace.namespace, secret="tls", configuration=webhook.name,
                names=["127.0.0.1"], lifetime=3600.0, clock=time.time,
            )  # fmt: skip
            barrier.wait(60)
            keeper.look()
            found.append(keeper.look().certificate)

        threads = [threading.Thread(target=look, args=(api,)) for api in apis]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == len(apis)
        kept = base64.b64decode(namespace.get("secret", "tls")["data"]["tls.crt"])
        assert set(found) == {kept}
        assert {status for api in apis for status in api.refusals} == {404, 409}
    finally:
        webhook.remove()
