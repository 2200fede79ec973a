"""
Pods as they are before Kubernetes 1.29, without native sidecars: an init container, and a sidecar beside the
application. The store is asked once for both.
"""

from __future__ import annotations

import json
from typing import Any

from e2e import manifests
from e2e.cluster import Cluster, container_status, until
from e2e.conftest import Store

DOMAIN = "config-injector.io"
TEMPLATE = '{"password": "AWSPARAMSTR:///shop/db"}'
FIRST_READ = "print('first:', open('/config/app.json').read(), flush=True)\nimport time\nwhile True: time.sleep(0.5)"
HANDOVER = {"name": "handover", "mountPath": "/handover"}


def calls(namespace: Cluster) -> list[list[Any]]:
    """What the store was asked: [operation, names, outcome] of each call."""
    program = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/calls').read().decode())"
    answer = namespace.sh(namespace.pod_of(app="store"), "store", "python3", "-c", program)
    return [call for call in json.loads(answer) if call[0].startswith("Get")]


def is_handed_over(namespace: Cluster, pod: str) -> None:
    """The application has read its file first thing, the sidecar has what init got, and the store was asked once."""
    assert json.loads(namespace.logs(pod, "app").partition("first: ")[2].splitlines()[0]) == {"password": "one"}
    assert "values handed over to the sidecar" in namespace.logs(pod, "injector-init")
    assert "values taken over from init" in namespace.logs(pod, "injector")
    assert len(calls(namespace)) == 1
    assert "one" not in namespace.logs(pod, "injector") + namespace.logs(pod, "injector-init")


def as_before_1_29(pod: dict[str, Any]) -> None:
    """No init container stays: an API server that does not know the field would have dropped it."""
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["injector-init"]
    assert all("restartPolicy" not in each for each in pod["spec"]["initContainers"])
    assert {each["name"] for each in pod["spec"]["containers"]} == {"app", "injector"}


def test_the_webhooks_init_container_hands_over_to_its_sidecar(
    webhook: Cluster, namespace: Cluster, store: Store, image: str
) -> None:
    namespace.kubectl("label", "namespace", namespace.namespace, "pod-security.kubernetes.io/enforce=restricted")
    store.put(shop__db="one")
    app = manifests.app(image, FIRST_READ, env=manifests.STORE_ENVIRONMENT)
    app.pop("volumeMounts")
    wishes = {
        "template-app.json": TEMPLATE,
        "mode": "sidecar",
        "refresh": "1h",
        "pass-env": "AWS_ENDPOINT_URL,AWS_REGION,AWS_ACCESS_KEY_ID,AWS_SECRET_ACCESS_KEY",
    }
    namespace.apply(
        manifests.workload(
            "shop",
            {"containers": [app], "terminationGracePeriodSeconds": 2},
            labels={f"{DOMAIN}/inject": "enabled"},
            annotations={f"{DOMAIN}/{name}": text for name, text in wishes.items()},
        )
    )
    pod = namespace.pod_of(app="shop")
    found = namespace.ready(pod)
    as_before_1_29(found)
    is_handed_over(namespace, pod)
    (application,) = [each for each in found["spec"]["containers"] if each["name"] == "app"]
    assert "injector-handover" not in {mount["name"] for mount in application["volumeMounts"]}
    assert (
        namespace.sh(pod, "injector", "python3", "-c", "import os; print(os.listdir('/injector/handover'))") == "[]\n"
    )

    # Later it asks by itself, and a container that is started again finds nothing and asks.
    store.put(shop__db="two")
    namespace.sh(pod, "injector", "injector", "refresh", "--control", "/tmp/injector.sock")
    read = ("python3", "-c", "print(open('/config/app.json').read())")
    assert json.loads(namespace.sh(pod, "app", *read)) == {"password": "two"}
    assert len(calls(namespace)) == 2
    namespace.sh(pod, "injector", "python3", "-c", "import os, signal; os.kill(1, signal.SIGTERM)")
    until(lambda: container_status(namespace.get("pod", pod), "injector").get("restartCount"), what="a restart")
    namespace.ready(pod)
    until(lambda: "nothing was handed over" in namespace.logs(pod, "injector"), what="the log of the new one")
    assert len(calls(namespace)) == 3
    assert container_status(namespace.get("pod", pod), "app")["restartCount"] == 0


def test_a_pod_written_by_hand_hands_over_without_a_webhook(namespace: Cluster, store: Store, image: str) -> None:
    store.put(shop__db="one")
    beside = manifests.sidecar(image, "--handover", "/handover", "--refresh", "1h")
    beside.pop("restartPolicy")
    beside["volumeMounts"].append(HANDOVER)
    first = {key: beside[key] for key in ("image", "imagePullPolicy", "env", "securityContext", "volumeMounts")}
    first |= {
        "name": "injector-init",
        "args": ["init", "/templates", "--output-dir", "/config", "--handover", "/handover"],
    }
    spec = manifests.pod("templates", [manifests.app(image, FIRST_READ), beside], init=[first])
    spec["volumes"].append({"name": "handover", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}})
    namespace.apply(manifests.config_map("templates", app__json=TEMPLATE), manifests.workload("shop", spec))
    pod = namespace.pod_of(app="shop")
    as_before_1_29(namespace.ready(pod))
    is_handed_over(namespace, pod)
