"""
What the real API server makes of the webhook: patches, refusals and warnings, Pod Security, its own certificates.

The webhook runs beside the tests and is reached by address, so a control plane alone is enough.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from e2e.cluster import Cluster, Refused, run, until
from e2e.conftest import OTHER_WEBHOOK

D = "config-injector.io/"
INJECTOR = Path(sys.executable).with_name("injector")


class Webhook:
    """A webhook process for one namespace, and the configuration through which the API server calls it."""

    def __init__(self, own: Cluster, directory: Path) -> None:
        self.own = own
        self.name = f"{own.namespace}-webhook"
        self.log = directory / "webhook.log"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """The service account that the webhook has, with no more than it needs, and its credentials as in a pod."""
        account = {"kind": "ServiceAccount", "name": "webhook", "namespace": self.own.namespace}
        configuration = {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["mutatingwebhookconfigurations"],
            "resourceNames": [self.name],
            "verbs": ["get", "patch"],
        }
        verbs = ["get", "update", "patch", "create"]
        rules = [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["tls"], "verbs": verbs}]
        rbac = "rbac.authorization.k8s.io"
        self.own.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "webhook"}},
            {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": {"name": "webhook"}, "rules": rules},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "webhook"},
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "webhook"},
                "subjects": [account],
            },
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRole",
                "metadata": {"name": self.name},
                "rules": [configuration],
            },
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": self.name},
                "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": self.name},
                "subjects": [account],
            },
        )
        token = self.own.kubectl("create", "token", "webhook", "--duration=1h")
        (self._directory / "token").write_text(token.strip())
        config = json.loads(self.own.kubectl("config", "view", "--raw", "-o", "json"))
        authority = config["clusters"][0]["cluster"]["certificate-authority-data"]
        (self._directory / "ca.crt").write_bytes(base64.b64decode(authority))
        self._server = urlsplit(config["clusters"][0]["cluster"]["server"])

    def configure(self, port: int) -> None:
        webhook = {
            "name": "pods.config-injector.io",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": f"https://127.0.0.1:{port}/mutate"},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "sideEffects": "None",
            "reinvocationPolicy": "IfNeeded",
            "failurePolicy": "Fail",
            "timeoutSeconds": 5,
            "objectSelector": {"matchLabels": {f"{D}inject": "enabled"}},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.own.namespace}},
        }
        self.own.apply(
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": self.name},
                "webhooks": [webhook],
            }
        )

    def start(self, *flags: str, port: int = 0) -> int:
        command = [
            *(str(INJECTOR), "webhook", "--image", "localhost/injector:test", "--listen", f"127.0.0.1:{port}"),
            *("--self-signed", "--secret", f"{self.own.namespace}/tls", "--webhook-configuration", self.name),
            *("--dns-name", "127.0.0.1", "--api-credentials", str(self._directory)),
            *("--check-interval", "300ms", "--shutdown-delay", "off", "--log-format", "json", *flags),
        ]
        where = {
            "KUBERNETES_SERVICE_HOST": self._server.hostname or "",
            "KUBERNETES_SERVICE_PORT": str(self._server.port),
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stderr=log, env={**os.environ, **where})
        return until(lambda: self.logged("listening"), what="the webhook to listen")["port"]

    def show_token(self, token: str) -> None:
        """As the kubelet replaces it: at once."""
        fresh = self._directory / "token.new"
        fresh.write_text(token)
        fresh.rename(self._directory / "token")

    def logged(self, event: str) -> dict[str, Any]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return next((line for line in lines if line["event"] == event), {})

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            assert self._process.wait(60) == 0
            self._process = None

    def remove(self) -> None:
        self.stop()
        for kind in ("mutatingwebhookconfiguration", "clusterrole", "clusterrolebinding"):
            self.own.kubectl("delete", kind, self.name, "--ignore-not-found")


@contextlib.contextmanager
def webhook_of(own: Cluster, *flags: str) -> Iterator[Webhook]:
    with tempfile.TemporaryDirectory() as directory:
        webhook = Webhook(own, Path(directory))
        own.kubectl("label", "namespace", own.namespace, f"{OTHER_WEBHOOK}=admission", "--overwrite")
        try:
            webhook.prepare()
            port = webhook.start(*flags)
            webhook.configure(port)
            until(lambda: webhook.logged("certificate loaded"), what="the certificate")
            # The API server watches configurations: the first pods may come before it knows.
            until(lambda: D in json.dumps(created(own, pod())), what="the API server to call the webhook")
            yield webhook
        finally:
            webhook.remove()


@pytest.fixture(scope="module")
def webhook(cluster: Cluster) -> Iterator[Webhook]:
    """A webhook for a namespace that lets only restricted pods in."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    own = cluster.within(name)
    own.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    until(lambda: own.get("serviceaccount", "default"), what="the namespace's service account")
    try:
        with webhook_of(own, "--env-file-key-ref") as started:
            yield started
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    given = {f"{D}{name}": text for name, text in (annotations or {"templates": "shop"}).items()}
    container = {"name": "app", "image": "localhost/app:1", "securityContext": SECURITY}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "shop-", "labels": {f"{D}inject": "enabled"}, "annotations": given},
        "spec": {"containers": [container], **spec},
    }


def created(own: Cluster, document: dict[str, Any]) -> dict[str, Any]:
    """The pod as the API server would keep it."""
    text = own.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(document))
    return json.loads(text)


@pytest.mark.fault(79, "pods with the sidecar are let into a namespace that enforces the restricted standard")
@pytest.mark.parametrize("mode", ["native-sidecar", "sidecar", "init"])
@pytest.mark.parametrize("probes", [{}, {"probes": "http"}])
def test_a_restricted_namespace_lets_injected_pods_in(webhook: Webhook, mode: str, probes: dict[str, str]) -> None:
    wishes = {"templates": "shop,more", "template-a.conf": "x=AWSPARAMSTR:///a", "mode": mode}
    found = created(webhook.own, pod({**wishes, **({} if mode == "init" else probes)}))
    assert found["metadata"]["annotations"][f"{D}status"] == "injected"
    names = [container["name"] for container in found["spec"]["initContainers"]]
    assert names == (["injector"] if mode == "native-sidecar" else ["injector-init"])
    if mode == "native-sidecar":
        assert found["spec"]["initContainers"][0]["restartPolicy"] == "Always"
    regular = [container["name"] for container in found["spec"]["containers"]]
    assert regular == (["app", "injector"] if mode == "sidecar" else ["app"])
    mounts = {mount["name"]: mount for mount in found["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["injector-output"] == {"name": "injector-output", "mountPath": "/config", "readOnly": True}


EVERYTHING = {
    "template-app.yaml": "password: AWSPARAMSTR:///a|b",
    "file-app.yaml": "conf/app.yaml",
    "template-path": "/templates",
    "templates": "shop",
    "perms-app.yaml": "0640",
    "on-missing-app.yaml": "empty",
    "notify-app.yaml": "signal:HUP:process=nginx",
    "notify": "http:http://127.0.0.1:1/x\nexec:/bin/reload --now $(HOME)",
    "containers": "app",
    "mount-path": "/etc/shop",
    "volume-size": "1Mi",
    "perms": "0600",
    "init-first": "true",
    "refresh": "1m30s",
    "on-missing": "default",
    "default-value": 'it\'s "$(PATH)"\n\u2603',
    "on-error": "fail",
    "max-stale": "1h",
    "timeout": "30s",
    "splay": "5s",
    "debounce-min": "1s",
    "debounce-max": "5s",
    "rescan": "1m",
    "prune": "true",
    "envsubst": "false",
    "token-separator": "#",
    "key-separator": "^",
    "log-level": "debug",
    "log-format": "json",
    "image": "localhost/injector:other",
    "image-pull-policy": "IfNotPresent",
    "requests-cpu": "20m",
    "requests-memory": "32Mi",
    "limits-cpu": "1",
    "limits-memory": "256Mi",
    "run-as-user": "1234",
    "run-as-group": "1235",
    "share-process-namespace": "true",
    "probes": "http",
    "port": "9999",
    "env": "off",
}


def test_every_annotation_makes_a_pod_that_the_api_server_takes(webhook: Webhook) -> None:
    first = {"name": "first", "image": "localhost/first:1", "securityContext": SECURITY}
    found = created(webhook.own, pod(EVERYTHING, initContainers=[first]))
    own = found["spec"]["initContainers"][0]
    assert own["name"] == "injector"
    assert '--default-value=it\'s "$$(PATH)"\n\u2603' in own["args"]
    assert own["securityContext"]["runAsUser"] == 1234
    assert found["spec"]["shareProcessNamespace"] is True
    assert found["spec"]["initContainers"][1]["name"] == "first"


def test_an_inline_settings_file_and_one_of_a_config_map_are_taken(webhook: Webhook) -> None:
    for wishes in ({"settings": "apiVersion: config-injector.io/v1alpha1\nkind: Injector\n"}, {"config": "injector"}):
        found = created(webhook.own, pod({**wishes, "templates": "shop"}))
        names = [volume["name"] for volume in found["spec"]["volumes"]]
        assert "injector-settings" in names


def test_tokens_in_variables_become_file_keys(webhook: Webhook) -> None:
    document = pod({"refresh": "5m"})
    variables = [{"name": "HOME", "value": "/"}, {"name": "PASSWORD", "value": "AWSPARAMSTR:///db|password"}]
    document["spec"]["containers"][0]["env"] = variables
    try:
        found = created(webhook.own, document)
    except Refused as error:
        if "fileKeyRef" in str(error):
            pytest.skip("this cluster has no fileKeyRef")
        raise
    kept, password = found["spec"]["containers"][0]["env"]
    assert kept == {"name": "HOME", "value": "/"}
    selector = password["valueFrom"]["fileKeyRef"]
    assert (selector["volumeName"], selector["path"], selector["key"]) == (
        "injector-output",
        "injector-env/app/PASSWORD",
        "PASSWORD",
    )


def test_a_misspelt_annotation_is_a_warning_that_kubectl_prints(webhook: Webhook) -> None:
    document = json.dumps(pod({"templates": "shop", "refesh": "1m"}))
    command = ["kubectl", "-n", webhook.own.namespace, "create", "--dry-run=server", "-f", "-"]
    done = subprocess.run(
        command,
        input=document,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
        env={**os.environ, "KUBECONFIG": webhook.own.kubeconfig},
    )
    assert f"Warning: annotation {D}refesh is unknown: did you mean {D}refresh?" in done.stderr


def test_an_impossible_wish_is_refused_with_its_reason(webhook: Webhook) -> None:
    with pytest.raises(Refused) as refused:
        created(webhook.own, pod({"templates": "shop", "containers": "ap"}))
    assert f"annotation {D}containers: there is no container ap (did you mean app?)" in str(refused.value)


def test_a_deployments_pods_are_injected(webhook: Webhook) -> None:
    template = pod()
    labels = {**template["metadata"]["labels"], "app": "shop"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {
                "metadata": {"labels": labels, "annotations": template["metadata"]["annotations"]},
                "spec": template["spec"],
            },
        },
    }
    webhook.own.apply(deployment)
    found = until(lambda: webhook.own.items("pods", "-l", "app=shop"), what="the Deployment's pod")[0]
    webhook.own.kubectl("delete", "deployment", "shop")
    assert found["spec"]["initContainers"][0]["name"] == "injector"
    # The service account's token is where the application has it.
    token = "/var/run/secrets/kubernetes.io/serviceaccount"
    of_ours = [mount for mount in found["spec"]["initContainers"][0]["volumeMounts"] if mount["mountPath"] == token]
    of_app = [mount for mount in found["spec"]["containers"][0]["volumeMounts"] if mount["mountPath"] == token]
    assert len(of_ours) == 1
    assert of_ours == of_app


def test_injected_again_a_pod_stays_the_same(webhook: Webhook) -> None:
    """As when it is made anew from what `kubectl get` printed, or the API server asks again for another webhook."""
    found = created(webhook.own, pod())
    found["metadata"] = {key: found["metadata"][key] for key in ("generateName", "labels", "annotations")}
    again = created(webhook.own, found)
    assert again["spec"] == found["spec"]
    assert again["metadata"]["annotations"] == found["metadata"]["annotations"]


@pytest.mark.fault(80, "while certificates and their authorities are renewed, every pod is admitted")
def test_certificates_are_renewed_under_the_api_servers_eyes(namespace: Cluster) -> None:
    """A lifetime of 60 s is renewed after 20 s less a minute's skew: pods are made all the while."""
    with webhook_of(namespace, "--certificate-lifetime", "60s") as webhook:
        secret = namespace.get("secret", "tls")
        first, last = secret["data"]["tls.crt"], ""
        end = time.monotonic() + 100
        admitted = renewed = 0
        while renewed < 2 and time.monotonic() < end:
            assert f"{D}status" in json.dumps(created(namespace, pod()))
            admitted += 1
            loads = [line for line in webhook.log.read_text().splitlines() if "certificate loaded" in line]
            renewed = len(loads) - 1
            last = namespace.get("secret", "tls")["data"]["tls.crt"]
        assert renewed >= 2, webhook.log.read_text()
        assert first != last
        assert admitted > 5


@pytest.mark.fault(83, "two replicas that start at once end with one certificate that the API server trusts")
def test_two_replicas_agree_on_one_certificate(namespace: Cluster) -> None:
    with webhook_of(namespace) as webhook, tempfile.TemporaryDirectory() as directory:
        namespace.kubectl("delete", "secret", "tls")
        other = Webhook(namespace, Path(directory))
        other.name = webhook.name
        other.prepare()
        other.start()
        try:
            until(lambda: other.logged("certificate loaded"), what="the other's certificate")
            until(lambda: namespace.get("secret", "tls"), what="the Secret")
            time.sleep(2)  # several looks of both: whoever disagrees writes again
            before = namespace.get("secret", "tls")["metadata"]["resourceVersion"]
            time.sleep(2)
            assert namespace.get("secret", "tls")["metadata"]["resourceVersion"] == before
            assert f"{D}status" in json.dumps(created(namespace, pod()))
        finally:
            other.stop()


@pytest.mark.fault(81, "while the webhook is down labelled pods are refused, others are made; it comes back by itself")
def test_the_webhook_is_down_and_back(namespace: Cluster) -> None:
    with webhook_of(namespace) as webhook:
        port = webhook.logged("listening")["port"]
        webhook.stop()
        with pytest.raises(Refused, match="failed calling webhook"):
            created(namespace, pod())
        plain = pod()
        plain["metadata"].pop("labels")
        assert D + "status" not in json.dumps(created(namespace, plain))
        webhook.start(port=port)
        until(lambda: f"{D}status" in json.dumps(created(namespace, pod())), what="pods to be admitted again")


def test_the_rights_of_the_webhook_are_needed(namespace: Cluster) -> None:
    with webhook_of(namespace) as webhook:
        account = f"system:serviceaccount:{namespace.namespace}:webhook"
        for verb in ("get", "update", "patch", "create"):
            assert run(
                *("kubectl", "-n", namespace.namespace, "auth", "can-i", verb, "secret/tls", "--as", account),
                KUBECONFIG=namespace.kubeconfig,
            ).startswith("yes")
        namespace.kubectl("delete", "rolebinding", "webhook")
        until(lambda: "secrets/tls: status 403" in webhook.log.read_text(), what="the complaint")
        assert f"{D}status" in json.dumps(created(namespace, pod())), "what was served stays"
