"""Events and rollouts against the real API server: what they tell, which rights they need, and none beyond."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from e2e import manifests
from e2e.cluster import Cluster, container_status, until
from e2e.conftest import Store

TEMPLATE = '{"password": "AWSPARAMSTR:///shop/db"}'
CONTROLLER = "config-injector.io/injector"
WAITING = "import time\nwhile True: time.sleep(0.5)"
PYTHON = "/usr/local/lib/injector/bin/python"  # the image's, with injector in it
EVENT_RULES = [{"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}]
ROLLOUT_RULES = [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]}]


def allow(namespace: Cluster, rules: list[dict[str, Any]]) -> None:
    """The service account `app`, with *rules* and nothing else."""
    subject = {"kind": "ServiceAccount", "name": "app", "namespace": namespace.namespace}
    api = "rbac.authorization.k8s.io"
    namespace.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "app"}},
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": {"name": "app"}, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "app"},
            "subjects": [subject],
            "roleRef": {"apiGroup": api, "kind": "Role", "name": "app"},
        },
    )


def deploy(namespace: Cluster, image: str, *arguments: str, **extra: Any) -> str:
    spec = manifests.pod(
        "templates",
        [manifests.app(image, WAITING)],
        init=[manifests.sidecar(image, "--refresh", "1s", *arguments, **extra)],
        serviceAccountName="app",
    )
    namespace.apply(manifests.config_map("templates", app__json=TEMPLATE), manifests.workload("shop", spec))
    return namespace.pod_of(app="shop")


def ours(namespace: Cluster, pod: str) -> dict[str, list[dict[str, Any]]]:
    """Our Events of *pod*, by reason."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in namespace.events(pod):
        if event.get("reportingComponent") == CONTROLLER:
            found.setdefault(event["reason"], []).append(event)
    return found


def test_events_tell_what_becomes_of_the_files(namespace: Cluster, store: Store, image: str) -> None:
    allow(namespace, EVENT_RULES)
    store.put(shop__db="first-secret")
    pod = deploy(namespace, image, "--events", "--notify", "exec:python3 -c pass")
    uid = namespace.ready(pod)["metadata"]["uid"]
    (rendered,) = until(lambda: ours(namespace, pod).get("ConfigRendered"), what="the first Event")
    assert (rendered["type"], rendered["involvedObject"]["uid"]) == ("Normal", uid)
    store.put(shop__db="second-secret")
    until(lambda: {"ConfigUpdated", "ReloadSucceeded"} <= ours(namespace, pod).keys(), what="Events of the change")
    store.refuse("InternalServerError")
    (stale, *_) = until(lambda: ours(namespace, pod).get("ServingStale"), what="the Event of staleness")
    assert stale["type"] == "Warning"
    assert "app.json" in stale["message"]
    assert "ConfigUpdated" in namespace.kubectl("describe", "pod", pod)
    everything = json.dumps(namespace.items("events"))
    assert "first-secret" not in everything
    assert "second-secret" not in everything


def test_an_event_says_why_a_pod_does_not_start(namespace: Cluster, store: Store, image: str) -> None:
    allow(namespace, EVENT_RULES)
    store.refuse("AccessDeniedException")
    pod = deploy(namespace, image, "--events")
    (failed, *_) = until(lambda: ours(namespace, pod).get("RenderFailed"), what="the Event")
    assert "/templates/app.json:1:15" in failed["message"]


def test_a_file_mounted_by_subpath_is_warned_of(namespace: Cluster, store: Store, image: str) -> None:
    allow(namespace, EVENT_RULES)
    store.put(shop__db="one")
    mounts = manifests.sidecar(image)["volumeMounts"]
    mounts[0] = {"name": "templates", "mountPath": "/templates/app.json", "subPath": "app.json"}
    pod = deploy(namespace, image, "--events", volumeMounts=mounts)
    namespace.ready(pod)
    (warning,) = until(lambda: ours(namespace, pod).get("SubPathMount"), what="the Event")
    assert "/templates/app.json" in warning["message"]
    assert "subPath" in namespace.logs(pod, "injector")


@pytest.mark.parametrize("verb", ["create", "patch"])
def test_each_right_of_events_is_needed(namespace: Cluster, image: str, verb: str) -> None:
    """`create` for a new Event, `patch` for one that repeats; and no other right is asked for."""
    left = [one for one in ("create", "patch") if one != verb]
    allow(namespace, [{**EVENT_RULES[0], "verbs": left}])
    assert _write_events(namespace, image) == {"create": ["403"], "patch": ["ok", "403"]}[verb]


def test_the_rights_of_events_suffice(namespace: Cluster, image: str) -> None:
    allow(namespace, EVENT_RULES)
    assert _write_events(namespace, image) == ["ok", "ok"]
    (event,) = namespace.items("events", "--field-selector", f"reason=Tested,reportingComponent={CONTROLLER}")
    assert event["series"]["count"] == 2


def _write_events(namespace: Cluster, image: str) -> list[str]:
    """The same news twice, a minute apart by the writer's clock, from a pod with the service account `app`."""
    program = """
import os
from injector.errors import ClusterError
from injector.kube.api import ClusterApi
from injector.kube.events import EventWriter, News
from injector.kube.identity import own_pod
now = 0.0
writer = EventWriter(ClusterApi.of_pod(os.environ), own_pod(os.environ), clock=lambda: now)
for _ in range(2):
    try:
        writer.write(News("Normal", "Tested", "told"))
        print("ok")
    except ClusterError as error:
        print(error.status)
        break
    now += 61
"""
    namespace.apply(_pod(image, program))
    done = until(lambda: _finished(namespace), what="the program")
    assert done["exitCode"] == 0, namespace.logs("program", "app")
    return namespace.logs("program", "app").split()


def _pod(image: str, program: str) -> dict[str, Any]:
    container = manifests.app(image, program) | {"command": [PYTHON, "-u", "-c", program]}
    container.pop("volumeMounts")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "program"},
        "spec": {"restartPolicy": "Never", "serviceAccountName": "app", "containers": [container]},
    }


def _finished(namespace: Cluster) -> dict[str, Any] | None:
    return container_status(namespace.get("pod", "program"), "app").get("state", {}).get("terminated")


def test_a_rollout_replaces_the_pods_once(namespace: Cluster, store: Store, image: str) -> None:
    allow(namespace, ROLLOUT_RULES)
    store.put(shop__db="one")
    pod = deploy(namespace, image, "--notify", "rollout:deployment/shop")
    namespace.ready(pod)
    store.put(shop__db="two")

    def replaced() -> bool:
        pods = [one["metadata"]["name"] for one in namespace.items("pods", "-l", "app=shop")]
        return pod not in pods and len(pods) == 1

    until(replaced, what="another pod")
    namespace.ready(namespace.pod_of(app="shop"))
    assert namespace.get("deployment", "shop")["metadata"]["generation"] == 2


@pytest.mark.parametrize("verb", ["get", "patch"])
def test_each_right_of_a_rollout_is_needed(namespace: Cluster, store: Store, image: str, verb: str) -> None:
    allow(namespace, [{**ROLLOUT_RULES[0], "verbs": [one for one in ("get", "patch") if one != verb]}])
    store.put(shop__db="one")
    pod = deploy(namespace, image, "--notify", "rollout:deployment/shop")
    namespace.ready(pod)
    store.put(shop__db="two")
    log = until(lambda: _line(namespace.logs(pod, "injector"), "not allowed"), what="the refusal in the log")
    assert f"the verb {verb} is not allowed" in log
    assert namespace.get("deployment", "shop")["metadata"]["generation"] == 1


def _line(text: str, part: str) -> str:
    return next((line for line in text.splitlines() if part in line), "")


def test_without_rights_events_cost_one_line_of_the_log(
    namespace: Cluster, store: Store, image: str, reads: Callable[[str, str], str]
) -> None:
    allow(namespace, [])
    store.put(shop__db="one")
    pod = deploy(namespace, image, "--events")
    namespace.ready(pod)
    until(lambda: "Events cannot be written" in namespace.logs(pod, "injector"), what="the warning")
    store.put(shop__db="two")
    until(lambda: json.loads(reads(pod, "/config/app.json"))["password"] == "two", what="the new value")
    assert namespace.logs(pod, "injector").count("Events cannot be written") == 1
