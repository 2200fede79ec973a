"""
charts/injector and the example of charts/injector-library on a real cluster: installed, tested, upgraded, rolled back.

Kinds of other projects (Prometheus operator, cert-manager) are not in the cluster; their objects are looked at in
tests/charts only.
"""

from __future__ import annotations

import base64
import json
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts.helm import LIBRARY, ROOT, WEBHOOK

from e2e.cluster import Cluster, Refused, until
from e2e.conftest import OTHER_WEBHOOK
from e2e.manifests import RESTRICTED
from injector.webhook import certificates

CI = sorted(path.name.removesuffix("-values.yaml") for path in (WEBHOOK / "ci").iterdir())
FOREIGN = {"ServiceMonitor", "PrometheusRule", "Certificate", "Issuer"}
LABEL = "config-injector.io/inject"


def install_flags(image: str) -> list[str]:
    """That all of our images are *image*, which is in the cluster and nowhere else."""
    repository, _, tag = image.rpartition(":")
    return [f"--set=image.repository={repository}", f"--set=image.tag={tag}", "--set=image.pullPolicy=IfNotPresent"]


class Release:
    """The chart, in a restricted namespace of its own, for the pods of one other namespace."""

    def __init__(self, own: Cluster, image: str, pods: Cluster) -> None:
        self.own, self.pods = own, pods
        self._flags = [str(WEBHOOK), *install_flags(image), "--wait", "--timeout=120s"]
        # Other tests have a webhook of their own.
        self._flags += [
            f"--set-json=webhook.namespaceSelector.matchLabels={json.dumps({OTHER_WEBHOOK: own.namespace})}"
        ]

    def do(self, verb: str, *flags: str) -> str:
        return self.own.helm(verb, "it", *self._flags, *flags)

    def configuration(self) -> dict[str, Any]:
        return self.own.get("mutatingwebhookconfiguration", f"{self.own.namespace}-it-injector")

    @property
    def account(self) -> str:
        return f"system:serviceaccount:{self.own.namespace}:it-injector"

    def may(self, verb: str, what: str) -> bool:
        try:
            return "yes" in self.own.kubectl("auth", "can-i", verb, what, f"--as={self.account}")
        except Refused:
            return False

    def allow(self, kind: str, name: str, verbs: list[str]) -> None:
        """Gives the one rule of a role these verbs and no other."""
        patch = [{"op": "replace", "path": "/rules/0/verbs", "value": verbs}]
        self.own.kubectl("patch", kind, name, "--type=json", "-p", json.dumps(patch))

    def has_certificate(self) -> bool:
        found = self.own.items("secrets", "--field-selector=metadata.name=it-injector-tls")
        return bool(found and found[0].get("data", {}).get("tls.crt"))

    def logs(self) -> str:
        return self.own.kubectl("logs", "-l", "app.kubernetes.io/component=webhook", "--tail=-1", "--prefix")

    def uids(self) -> set[str]:
        """The uids of the webhook's pods, those that are ending included."""
        return {pod["metadata"]["uid"] for pod in self.own.items("pods", "-l", "app.kubernetes.io/component=webhook")}


@pytest.fixture
def release(cluster: Cluster, namespace: Cluster, image: str) -> Iterator[Release]:
    name = f"e2e-chart-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    cluster.kubectl("label", "namespace", namespace.namespace, f"{OTHER_WEBHOOK}={name}")
    own = cluster.within(name)
    yield Release(own, image, namespace)
    own.helm("uninstall", "it", "--ignore-not-found", "--wait")
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def pod(image: str, name: str = "app", **annotations: str) -> dict[str, Any]:
    """A pod with the label; its first act is to print its file."""
    program = "import time; print(open('/config/app.env').read(), flush=True); time.sleep(600)"
    container = {"name": "app", "image": image, "command": ["python3", "-c", program], "securityContext": RESTRICTED}
    given = {f"config-injector.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {LABEL: "enabled"},
            "annotations": {"config-injector.io/template-app.env": "NAME=ENV://POD_NAME", **given},
        },
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }


def sidecars(found: dict[str, Any]) -> list[str]:
    return [container["name"] for container in found["spec"].get("initContainers", [])]


@pytest.mark.parametrize("values", CI)
def test_the_api_server_accepts_every_object(values: str, namespace: Cluster) -> None:
    file = WEBHOOK / "ci" / f"{values}-values.yaml"
    text = namespace.helm("template", "it", str(WEBHOOK), "-f", str(file))
    objects = [each for each in yaml.safe_load_all(text) if each]
    known = [each for each in objects if each["kind"] not in FOREIGN]
    answer = namespace.kubectl(
        "create", "--dry-run=server", "--validate=strict", "-f", "-", stdin="\n---\n".join(map(json.dumps, known))
    )
    assert answer.count("(server dry run)") == len(known) > 4


def test_installed_tested_used_and_gone_without_a_trace(release: Release, image: str) -> None:
    release.do("install")
    assert "Succeeded" in release.own.helm("test", "it", "--timeout=120s")
    release.pods.apply(pod(image))
    found = release.pods.ready("app")
    assert sidecars(found) == ["injector"]
    assert "NAME=app" in release.pods.logs("app", "app")

    release.own.helm("uninstall", "it", "--wait")
    left = release.own.kubectl(
        "get", "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,roles,rolebindings,secrets,services",
        "-l", "app.kubernetes.io/instance=it", "--all-namespaces",
        "-o", r'jsonpath={range .items[*]}{.kind} {.metadata.namespace} {.metadata.name}{"\n"}{end}',
    )  # fmt: skip
    assert not [line for line in left.splitlines() if release.own.namespace in line]
    release.pods.apply(pod(image, "later"))  # nobody refuses it


def test_a_pod_of_a_labelled_namespace_is_asked_about_when_it_has_annotations(release: Release, image: str) -> None:
    release.do("install")
    release.own.kubectl("label", "namespace", release.pods.namespace, f"{LABEL}=enabled")
    annotated, plain, unwilling = pod(image, "annotated"), pod(image, "plain"), pod(image, "unwilling")
    del annotated["metadata"]["labels"], plain["metadata"]["labels"], plain["metadata"]["annotations"]
    unwilling["metadata"]["labels"][LABEL] = "disabled"
    release.pods.apply(annotated, plain, unwilling)
    assert sidecars(release.pods.get("pod", "annotated")) == ["injector"]
    assert sidecars(release.pods.get("pod", "plain")) == []
    assert sidecars(release.pods.get("pod", "unwilling")) == []


def test_no_pod_is_refused_while_the_webhook_is_upgraded_and_rolled_back(release: Release, image: str) -> None:
    release.do("install")
    before, bundle = release.uids(), release.configuration()["webhooks"][0]["clientConfig"]["caBundle"]
    refusals, asked, done = [], 0, threading.Event()

    def create() -> None:
        nonlocal asked
        while not done.is_set():
            try:
                answer = release.pods.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=document)
                if sidecars(json.loads(answer)) != ["injector"]:
                    refusals.append("created without the sidecar")
            except Refused as error:
                refusals.append(str(error))
            asked += 1

    document = json.dumps(pod(image))
    creating = threading.Thread(target=create)
    creating.start()
    try:
        release.do("upgrade", "--reset-then-reuse-values", "--set=agent.mountPath=/elsewhere", "--set=log.level=debug")
        until(lambda: not before & release.uids(), what="the old pods to be gone")
        found = json.loads(release.pods.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=document))
        assert "/elsewhere" in json.dumps(found["spec"]["containers"][0]["volumeMounts"])
        release.own.helm("rollback", "it", "1", "--wait", "--timeout=120s")
        until(lambda: len(release.uids()) == 2, what="the pods of the upgrade to be gone")
        found = json.loads(release.pods.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=document))
        assert "/config" in json.dumps(found["spec"]["containers"][0]["volumeMounts"])
    finally:
        done.set()
        creating.join()
    assert not refusals, (asked, refusals[:3])
    assert asked > 5
    assert release.configuration()["webhooks"][0]["clientConfig"]["caBundle"] == bundle
    assert "Succeeded" in release.own.helm("test", "it", "--timeout=120s")


def test_a_given_certificate_needs_no_right(release: Release, image: str) -> None:
    name = f"it-injector.{release.own.namespace}.svc"
    material = certificates.issue([name], 86400.0, time.time())
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}, "data": material.as_secret_data()}
    release.own.apply(secret)
    bundle = base64.b64encode(b"".join(material.bundle)).decode()
    release.do(
        "install", "--set=webhook.certs.mode=given", "--set=webhook.certs.secretName=mine",
        f"--set=webhook.certs.caBundle={bundle}",
    )  # fmt: skip
    assert "Succeeded" in release.own.helm("test", "it", "--timeout=120s")
    release.pods.apply(pod(image))
    assert sidecars(release.pods.get("pod", "app")) == ["injector"]
    assert not release.own.items("roles")


@pytest.mark.parametrize("kind", ["role", "clusterrole"])
def test_each_right_of_the_webhook_is_needed_and_all_of_them_suffice(release: Release, image: str, kind: str) -> None:
    """Each verb of the chart's role is taken away in turn, and given back."""
    release.do("install", "--set=webhook.certs.checkInterval=1s")
    until(release.has_certificate, what="the first certificate")
    name = {"role": "it-injector", "clusterrole": f"{release.own.namespace}-it-injector"}[kind]
    (rule,) = release.own.get(kind, name)["rules"]
    secret, configuration = "secrets/it-injector-tls", f"mutatingwebhookconfigurations/{rule['resourceNames'][0]}"
    missing = f"the Secret {release.own.namespace}/it-injector-tls is missing and may not be made: status 403"
    complaints = {
        ("role", "get"): f"GET /api/v1/namespaces/{release.own.namespace}/{secret}: status 403",
        ("role", "update"): f"PUT /api/v1/namespaces/{release.own.namespace}/{secret}: status 403",
        ("role", "patch"): missing,
        ("role", "create"): missing,
        ("clusterrole", "get"): f"GET /apis/admissionregistration.k8s.io/v1/{configuration}: status 403",
        ("clusterrole", "patch"): f"PATCH /apis/admissionregistration.k8s.io/v1/{configuration}: status 403",
    }
    assert set(rule["verbs"]) == {verb for of, verb in complaints if of == kind}
    for verb in rule["verbs"]:
        said, path = complaints[kind, verb], json.dumps([{"op": "remove", "path": "/data"}])
        before = release.logs().count(said)
        release.allow(kind, name, [other for other in rule["verbs"] if other != verb])
        until(lambda verb=verb: not release.may(verb, secret if kind == "role" else configuration), what="the refusal")
        # Now there is something to do: a certificate that is gone, or the Secret as a whole.
        if said == missing:
            release.own.kubectl("delete", "secret", "it-injector-tls")
        else:
            release.own.kubectl("patch", "secret", "it-injector-tls", "--type=json", "-p", path)
        until(lambda said=said, before=before: release.logs().count(said) > before, what=f"the complaint for {verb}")
        assert not release.has_certificate()
        release.allow(kind, name, rule["verbs"])
        until(release.has_certificate, what=f"a certificate after {verb} is given back")
    release.pods.apply(pod(image))
    assert sidecars(release.pods.get("pod", "app")) == ["injector"]


def test_the_webhook_has_no_other_right(release: Release) -> None:
    release.do("install")
    secret = "secrets/it-injector-tls"
    configuration = f"mutatingwebhookconfigurations/{release.own.namespace}-it-injector"
    refused = [
        ("create", "secrets"),
        ("create", "secrets/other"),
        ("list", "secrets"),
        ("watch", secret),
        ("get", "secrets/other"),
        ("delete", secret),
        ("get", "pods"),
        ("update", configuration),
        ("watch", configuration),
        ("list", "mutatingwebhookconfigurations"),
        ("get", "configmaps"),
    ]
    assert [item for item in refused if release.may(*item)] == []
    # Also not in the way in which it makes its own.
    account = f"--as={release.account}"
    for command in (("create",), ("apply", "--server-side")):
        document = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other"}}
        with pytest.raises(Refused, match="forbidden"):
            release.own.kubectl(*command, account, "--validate=false", "-f", "-", stdin=json.dumps(document))


@pytest.mark.fault(83, "the Secret of the certificate is deleted: it is made anew, and no pod is refused")
def test_a_deleted_secret_is_made_anew_and_an_upgrade_takes_it(release: Release, image: str) -> None:
    release.do("install", "--set=webhook.certs.checkInterval=1s")
    until(release.has_certificate, what="the first certificate")
    before, names = release.uids(), ("secret", "it-injector-tls")
    first = release.own.get(*names)["data"]["tls.crt"]
    release.own.kubectl("delete", *names)
    until(release.has_certificate, what="the Secret")
    release.pods.apply(pod(image))
    assert sidecars(release.pods.get("pod", "app")) == ["injector"]
    made = release.own.get(*names)
    assert made["data"]["tls.crt"] != first
    # Of replicas that start with it, and of an upgrade, it is the same.
    release.do("upgrade", "--reset-then-reuse-values", "--set=log.level=debug")
    until(lambda: not before & release.uids(), what="the old pods to be gone")
    taken = release.own.get(*names)
    assert (taken["metadata"]["uid"], taken["data"]) == (made["metadata"]["uid"], made["data"])
    assert taken["metadata"]["labels"]["app.kubernetes.io/instance"] == "it"
    release.pods.apply(pod(image, "later"))
    assert sidecars(release.pods.get("pod", "later")) == ["injector"]


def test_the_example_of_the_library_reads_at_its_first_act_and_follows_the_store(
    namespace: Cluster, image: str, tmp_path: Path
) -> None:
    app = tmp_path / "app"
    shutil.copytree(ROOT / "examples" / "charts" / "app", app, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    (app / "charts").mkdir()
    shutil.copytree(LIBRARY, app / "charts" / "injector-library")
    namespace.kubectl("label", "namespace", namespace.namespace, "pod-security.kubernetes.io/enforce=restricted")
    flags = [f"--set=image={image}", f"--set=injector.image={image}", "--wait", "--timeout=120s"]
    namespace.helm("install", "app", str(app), *flags, "--set=store.password=first")
    name = namespace.pod_of(**{"app.kubernetes.io/instance": "app"})
    lines = namespace.logs(name, "app").splitlines()
    assert lines == ["db.user = app", "db.password = first"]

    namespace.helm("upgrade", "app", str(app), *flags, "--set=store.password=second")
    until(lambda: "db.password = second" in namespace.logs(name, "app"), what="the new password")
    assert namespace.pod_of(**{"app.kubernetes.io/instance": "app"}) == name, "the pod is the same"
