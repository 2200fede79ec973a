"""
The node's API server is killed, or stopped so that it takes connections and never answers.

kubectl cannot be asked meanwhile: the tests go to the pods' own addresses.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from typing import Any

import pytest

from e2e import manifests
from e2e.cluster import Cluster, container_status, until
from e2e.conftest import RELEASE, Store
from e2e.node import Node, fetch
from e2e.test_events_and_rights import EVENT_RULES, allow, ours

pytestmark = pytest.mark.alone
DOMAIN = "config-injector.io"
TEMPLATE = '{"password": "AWSPARAMSTR:///shop/db"}'
# It shows its files to whoever asks.
PROGRAM = """
import functools, http.server
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory="/config")
http.server.ThreadingHTTPServer(("", 8080), handler).serve_forever()
"""
KINDS = pytest.mark.parametrize("how", ["gone", "hanging"])


def address(found: dict[str, Any]) -> str:
    return str(found["status"]["podIP"])


@pytest.mark.fault(82, "while the API server is away files are kept fresh, and Events come when it is back")
@KINDS
def test_files_are_kept_fresh_and_events_come_later(
    node: Node, namespace: Cluster, store: Store, image: str, how: str
) -> None:
    allow(namespace, EVENT_RULES)
    store.put(shop__db="one")
    spec = manifests.pod(
        "templates",
        [manifests.app(image, PROGRAM)],
        init=[manifests.sidecar(image, "--refresh", "1s", "--events", "--listen", "0.0.0.0:9464")],
        serviceAccountName="app",
    )
    namespace.apply(manifests.config_map("templates", app__json=TEMPLATE), manifests.workload("shop", spec))
    pod = namespace.pod_of(app="shop")
    shop = address(namespace.ready(pod))
    behaviour = f"http://{address(namespace.get('pod', namespace.pod_of(app='store')))}:8000/behaviour"
    until(lambda: "ConfigRendered" in ours(namespace, pod), what="the first Event")
    with node.without_api_server(how):
        for value in ("two", "three"):
            body = json.dumps({"values": {"/shop/db": value}}).encode()
            until(lambda body=body: fetch(behaviour, body, "PUT")[0] == 200, what="the store")
            until(lambda value=value: value in fetch(f"http://{shop}:8080/app.json")[1], what=f"the value {value}")
        assert fetch(f"http://{shop}:9464/readyz")[0] == 200
        assert fetch(f"http://{shop}:9464/livez")[0] == 200
    until(lambda: "ConfigUpdated" in ours(namespace, pod), what="the Event of the change", seconds=150)
    found = namespace.get("pod", pod)
    assert [container_status(found, name)["restartCount"] for name in ("injector", "app")] == [0, 0]
    assert namespace.logs(pod, "injector").count("Events cannot be written") <= 1


class Reviewer:
    """Asks the webhook's pods as the API server does: by TLS, trusting `caBundle`."""

    def __init__(self, webhook: Cluster) -> None:
        self._webhook = webhook
        self.configuration = webhook.items(
            "mutatingwebhookconfigurations", "-l", f"app.kubernetes.io/instance={RELEASE}"
        )[0]
        config = self.configuration["webhooks"][0]["clientConfig"]
        self._name = f"{config['service']['name']}.{webhook.namespace}.svc"
        self._trusted = ssl.create_default_context(cadata=base64.b64decode(config["caBundle"]).decode())
        self.pods = webhook.items("pods", "-l", "app.kubernetes.io/component=webhook")

    def failures(self, pod: dict[str, Any]) -> float:
        """How often the pod has looked after its certificate in vain."""
        lines = self.ask(pod, "GET", "/metrics")[1].decode().splitlines()
        of_ours = 'injector_webhook_certificate_loads_total{result="failed"} '
        return float(next((line.removeprefix(of_ours) for line in lines if line.startswith(of_ours)), "0"))

    def ask(self, pod: dict[str, Any], method: str, path: str, body: object = None) -> tuple[int, bytes]:
        port = pod["spec"]["containers"][0]["ports"][0]["containerPort"]
        connection = http.client.HTTPSConnection(address(pod), port, timeout=10)
        # The certificate is for the Service's name, and the address is a pod's.
        plain = socket.create_connection((address(pod), port), timeout=10)
        connection.sock = self._trusted.wrap_socket(plain, server_hostname=self._name)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@pytest.mark.fault(82, "the webhook answers without the API server, and then looks after its certificate again")
@KINDS
def test_the_webhook_answers_and_goes_on_looking_after_its_certificate(
    node: Node, webhook: Cluster, namespace: Cluster, image: str, how: str
) -> None:
    container = {"name": "app", "image": image}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "app",
            "namespace": namespace.namespace,
            "labels": {f"{DOMAIN}/inject": "enabled"},
            "annotations": {f"{DOMAIN}/template-app.env": "NAME=ENV://HOSTNAME"},
        },
        "spec": {"containers": [container]},
    }
    request = {"uid": "1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE"}
    request |= {"resource": {"group": "", "version": "v1", "resource": "pods"}, "namespace": namespace.namespace}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {**request, "object": pod}}
    reviewer = Reviewer(webhook)
    assert len(reviewer.pods) == 2
    complaints = {each["metadata"]["name"]: _complaints(webhook, each) for each in reviewer.pods}
    failures = [reviewer.failures(each) for each in reviewer.pods]
    with node.without_api_server(how):
        # Long enough that each has looked after its certificate in vain: every second, 10 s for an answer.
        until(
            lambda: all(reviewer.failures(pod) > count for pod, count in zip(reviewer.pods, failures, strict=True)),
            what="looks in vain",
        )
        for each in reviewer.pods:
            assert reviewer.ask(each, "GET", "/readyz")[0] == 200
            status, answer = reviewer.ask(each, "POST", "/mutate", review)
            assert (status, json.loads(answer)["response"]["allowed"]) == (200, True)
            assert json.loads(answer)["response"]["patch"]
    for each in reviewer.pods:
        more = _complaints(webhook, each) - complaints[each["metadata"]["name"]]
        assert 1 <= more <= 3, "once for each kind of failure, not at each look"
    # The Secret is emptied: a certificate is made, trusted and served.
    (secret,) = [found for found in webhook.items("secrets") if "tls.crt" in found.get("data", {})]
    webhook.kubectl("patch", "secret", secret["metadata"]["name"], "--type=merge", "-p", '{"data": null}')

    def renewed() -> bool:
        found = webhook.get("secret", secret["metadata"]["name"]).get("data", {})
        return found.get("tls.crt", secret["data"]["tls.crt"]) != secret["data"]["tls.crt"]

    until(renewed, what="another certificate")
    until(lambda: "injector" in _created(namespace, pod), what="pods to be admitted")
    now = webhook.items("pods", "-l", "app.kubernetes.io/component=webhook")
    assert [each["status"]["containerStatuses"][0]["restartCount"] for each in now] == [0, 0]


def _complaints(webhook: Cluster, pod: dict[str, Any]) -> int:
    return webhook.logs(pod["metadata"]["name"], "webhook").count("no new certificate")


def _created(namespace: Cluster, pod: dict[str, Any]) -> list[str]:
    text = namespace.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(pod))
    return [container["name"] for container in json.loads(text)["spec"].get("initContainers", [])]
