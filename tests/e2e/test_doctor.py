"""`injector doctor` against a real cluster: from outside by a kubeconfig, and inside a pod."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import manifests
from e2e.cluster import Cluster, Refused, until
from e2e.conftest import RELEASE_NAMESPACE, Store

INJECTOR = str(Path(sys.executable).with_name("injector"))


def doctor(cluster: Cluster, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and findings."""
    done = subprocess.run(
        [INJECTOR, "doctor", "--format", "json", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "KUBECONFIG": cluster.kubeconfig},
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["findings"]


def problems(findings: list[dict[str, Any]], check: str) -> list[str]:
    return [
        f"{one['subject']}: {one['message']}" for one in findings if one["check"] == check if one["verdict"] != "ok"
    ]


def hinted(findings: list[dict[str, Any]]) -> bool:
    """Whether all that is wrong says what to do."""
    return all(one["hint"] for one in findings if one["verdict"] != "ok")


def test_a_healthy_webhook_is_reached(webhook: Cluster) -> None:
    _, findings = doctor(webhook, "--cluster")
    # Those of other tests may be just starting.
    assert not [problem for problem in problems(findings, "webhook") if RELEASE_NAMESPACE in problem]
    assert any(one["message"] == "the webhook answers, and adds the sidecar" for one in findings)


def test_a_pod_that_slipped_past_the_webhook_is_named(webhook: Cluster, namespace: Cluster, image: str) -> None:
    """As when it was created before the webhook was installed: the label is set afterwards here."""
    container = manifests.app(image, "import time; time.sleep(600)")
    container.pop("volumeMounts")
    namespace.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "late"}, "spec": {"containers": [container]}}
    )
    namespace.kubectl("label", "pod", "late", "config-injector.io/inject=enabled")
    code, findings = doctor(namespace, "--cluster")
    expected = f"pod {namespace.namespace}/late: asks for the sidecar and does not have it"
    assert expected in problems(findings, "injection")
    assert code == 1
    code, findings = doctor(namespace, "--pod", f"{namespace.namespace}/late")
    assert expected in problems(findings, "injection")
    assert code == 1


def test_a_pod_written_by_hand_is_looked_through(namespace: Cluster, store: Store, image: str) -> None:
    store.put(shop__db="one")
    side = manifests.sidecar(image, "--events")
    side["volumeMounts"][0] = {"name": "templates", "mountPath": "/templates/app.json", "subPath": "app.json"}
    spec = manifests.pod("templates", [manifests.app(image, "import time; time.sleep(600)")], init=[side])
    side["volumeMounts"].append({"name": "others", "mountPath": "/others", "readOnly": True})
    spec["volumes"].append({"name": "others", "configMap": {"name": "others"}})
    namespace.apply(
        manifests.config_map("templates", app__json='{"a": "AWSPARAMSTR:///shop/db"}'),
        manifests.config_map("others", app__json='{"a": "VAULT:///shop/db"}'),
        manifests.workload("shop", spec),
    )
    pod = namespace.pod_of(app="shop")
    namespace.ready(pod)
    code, findings = doctor(namespace, "--pod", f"{namespace.namespace}/{pod}")
    assert code == 1
    assert [message for message in problems(findings, "subpath") if "/templates/app.json" in message]
    assert len(problems(findings, "rights")) == 2, "create and patch of Events"
    assert not problems(findings, "output")
    assert not problems(findings, "identity"), "a fixed key"
    inside = namespace.sh(pod, "injector", "injector", "doctor", "/templates")
    assert "subpath" in inside
    assert "AWSPARAMSTR" in inside
    with pytest.raises(Refused) as caught:
        namespace.sh(pod, "injector", "injector", "doctor", "/others")
    assert "problem  plugin" in str(caught.value)
    assert "/others/app.json:1:8" in str(caught.value)
    assert "install" in str(caught.value), "what to do"


# What follows needs no node: the pods are documents that nobody runs.

NOBODY_RUNS_IT: dict[str, Any] = {"schedulingGates": [{"name": "e2e.test/never"}]}

DOMAIN = "config-injector.io"
SETTINGS = f"apiVersion: {DOMAIN}/v1alpha1\nkind: Injector\nevents: true\nnotify: [{{rollout: deployment/shop}}]\n"
PLACES: dict[str, dict[str, Any]] = {
    "arguments": {"args": ["run", "/templates", "--events", "--notify=rollout:deployment/shop"]},
    "variables": {
        "env": [
            {"name": "INJECTOR_EVENTS", "value": "true"},
            {"name": "INJECTOR_NOTIFY", "value": "rollout:deployment/shop"},
        ]
    },
    "a ConfigMap of variables": {"envFrom": [{"configMapRef": {"name": "variables"}}]},
    "a ConfigMap": {"volume": {"configMap": {"name": "settings"}}},
    "an annotation": {
        "volume": {
            "downwardAPI": {
                "items": [
                    {
                        "path": "injector.yaml",
                        "fieldRef": {"fieldPath": f"metadata.annotations['{DOMAIN}/generated-settings']"},
                    }
                ]
            }
        }
    },
}


def document(
    *,
    volume: dict[str, Any] | None = None,
    app: dict[str, Any] | None = None,
    spec: dict[str, Any] | None = None,
    **own: Any,
) -> dict[str, Any]:
    """A pod with a sidecar and nothing wrong; *own* is the sidecar's, *volume* holds its settings file."""
    out = {"name": "out", "mountPath": "/config"}
    sidecar: dict[str, Any] = {
        "name": "injector",
        "image": "registry.example/injector:1",
        "args": ["run", "/templates"],
        "volumeMounts": [out, *own.pop("volumeMounts", [])],
        **own,
    }
    sidecar["env"] = [{"name": "AWS_ROLE_ARN", "value": "x"}, *manifests.STORE_ENVIRONMENT, *own.get("env", [])]
    volumes: list[dict[str, Any]] = [{"name": "out", "emptyDir": {"medium": "Memory"}}]
    if volume is not None:
        sidecar["env"].append({"name": "INJECTOR_CONFIG", "value": "/settings/injector.yaml"})
        sidecar["volumeMounts"].append({"name": "settings", "mountPath": "/settings"})
        volumes.append({"name": "settings", **volume})
    application = {"name": "app", "image": "registry.example/app:1", "volumeMounts": [out], **(app or {})}
    annotations = {f"{DOMAIN}/generated-settings": SETTINGS}
    extra = spec or {}
    volumes += extra.pop("volumes", [])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shop", "annotations": annotations},
        "spec": {"containers": [application, sidecar], "volumes": volumes, **NOBODY_RUNS_IT, **extra},
    }


@pytest.mark.parametrize("place", PLACES)
def test_rights_are_asked_for_wherever_the_settings_stand(namespace: Cluster, place: str) -> None:
    """Without a Role each right is missing; with the Role of docs/kubernetes.md none is."""
    namespace.apply(
        manifests.config_map("settings", injector__yaml=SETTINGS),
        manifests.config_map("variables", INJECTOR_EVENTS="true", INJECTOR_NOTIFY="rollout:deployment/shop"),
        document(**PLACES[place]),
    )
    where = f"{namespace.namespace}/shop"
    code, findings = doctor(namespace, "--pod", where)
    missing = {message.partition(" may not ")[2].partition(" in ")[0] for message in problems(findings, "rights")}
    rights = {
        "create events.events.k8s.io",
        "patch events.events.k8s.io",
        "get deployments.apps",
        "patch deployments.apps",
    }
    assert missing == rights
    assert code == 1
    assert hinted(findings)
    assert not problems(findings, "settings")
    rules = [
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]},
    ]
    group = "rbac.authorization.k8s.io"
    namespace.apply(
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": "shop"}, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "shop"},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "shop"},
            "subjects": [{"kind": "ServiceAccount", "name": "default"}],
        },
    )

    def allowed() -> bool:  # the authorizer hears of it a moment later
        code, findings = doctor(namespace, "--pod", where)
        return code == 0 and sum(one["check"] == "rights" for one in findings) == len(rights)

    until(allowed, what="the rights")


def test_what_the_doctor_cannot_see_it_says(namespace: Cluster) -> None:
    """Secrets are not read, though the user of this test may."""
    namespace.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"injector.yaml": SETTINGS}},
        document(volume={"secret": {"secretName": "s"}}, envFrom=[{"secretRef": {"name": "s"}}]),
    )
    code, findings = doctor(namespace, "--pod", f"{namespace.namespace}/shop")
    assert code == 0, "nothing is known to be wrong"
    told = problems(findings, "settings")
    assert len(told) == 2
    assert any("settings file /settings/injector.yaml" in message for message in told)
    assert any("variables of Secret s" in message for message in told)
    hints = [one["hint"] for one in findings if one["check"] == "settings"]
    assert all(f"kubectl -n {namespace.namespace} exec shop -c injector -- injector doctor" in hint for hint in hints)


def test_each_fault_of_a_pod_is_found_and_says_what_to_do(namespace: Cluster) -> None:
    wrong = document(
        args=["run", "/templates", "--events"],
        volumeMounts=[{"name": "templates", "mountPath": "/templates/a", "subPath": "a"}],
        volume={"configMap": {"name": "settings"}},
        app={"volumeMounts": []},
        spec={
            "automountServiceAccountToken": False,
            "volumes": [{"name": "templates", "configMap": {"name": "away"}}],
        },
    )
    sidecar = wrong["spec"]["containers"][1]
    sidecar["env"] = [one for one in sidecar["env"] if one["name"].startswith("INJECTOR_")]
    namespace.apply(manifests.config_map("settings", injector__yaml=f"{SETTINGS}refesh: 1m\n"), wrong)
    code, findings = doctor(namespace, "--pod", f"{namespace.namespace}/shop")
    assert code == 1
    assert hinted(findings)
    for check, message in (
        ("subpath", "/templates/a is a subPath of a configMap"),
        ("output", "shares no emptyDir with the application"),
        ("identity", "has no identity for a cloud"),
        ("configmap", "ConfigMap away does not exist"),
        ("settings", "/settings/injector.yaml, line 5: refesh is not a setting"),
    ):
        assert any(message in told for told in problems(findings, check)), check
    namespace.apply(manifests.config_map("settings", injector__yaml=SETTINGS))
    _, findings = doctor(namespace, "--pod", f"{namespace.namespace}/shop")
    assert any("has no token of its service account" in told for told in problems(findings, "rights"))


@pytest.fixture
def broken_webhook(namespace: Cluster) -> Iterator[str]:
    """A registered webhook behind which there is nothing; its name."""
    name = f"injector-{namespace.namespace}"
    webhook = {
        "name": f"pods.{DOMAIN}",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": "injector", "namespace": namespace.namespace, "path": "/mutate"}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "objectSelector": {"matchLabels": {f"{DOMAIN}/inject": "enabled"}},
        # Where the doctor tries it, and no other test makes pods.
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 2,
    }
    ignoring = {**webhook, "name": f"ignored.{DOMAIN}", "failurePolicy": "Ignore"}
    namespace.apply(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [webhook, ignoring],
        }
    )
    yield name
    namespace.kubectl("delete", "mutatingwebhookconfiguration", name)


def test_a_webhook_that_nobody_reaches_is_found(namespace: Cluster, broken_webhook: str) -> None:
    def found() -> list[dict[str, Any]]:
        code, findings = doctor(namespace, "--cluster")
        # The API server hears of a configuration a moment after it was made.
        answered = any("did not answer" in message for message in problems(findings, "webhook"))
        return findings if code == 1 and answered else []

    findings = until(found, what="the API server to ask the webhook in vain")
    told = problems(findings, "webhook")
    subject = f"webhook {broken_webhook}/pods.{DOMAIN}"
    assert f"{subject}: has no caBundle: the API server cannot trust it" in told
    assert f"{subject}: service {namespace.namespace}/injector has no ready endpoint" in told
    assert any("failurePolicy Ignore" in message for message in told)
    assert hinted(findings)


def test_no_way_to_a_cluster_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        [INJECTOR, "doctor", "--cluster"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "KUBECONFIG": str(tmp_path / "none")},
    )
    assert done.returncode == 5
    assert "KUBECONFIG" in done.stderr
