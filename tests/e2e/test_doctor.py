"""`injector doctor` against a real cluster: from outside by a kubeconfig, and inside a pod."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from e2e import manifests
from e2e.cluster import Cluster
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
    namespace.apply(
        manifests.config_map("templates", app__json='{"a": "AWSPARAMSTR:///shop/db"}'), manifests.workload("shop", spec)
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
