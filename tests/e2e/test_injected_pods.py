"""The chart and its webhook on a real node: pods that ask for the sidecar by a label get it, and it works."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from e2e import manifests
from e2e.cluster import Cluster, Refused, container_status, until
from e2e.conftest import Store, install

DOMAIN = "config-injector.io"
TEMPLATE = '{"password": "AWSPARAMSTR:///shop/db"}'
FIRST_READ = "print('first:', open('/config/app.json').read(), flush=True)\nimport time\nwhile True: time.sleep(0.5)"
LABEL = {f"{DOMAIN}/inject": "enabled"}


def shop(image: str, program: str = FIRST_READ, *, name: str = "shop", **annotations: str) -> dict[str, Any]:
    """A Deployment as its owner writes it: no volume, no sidecar, a label and annotations."""
    app = manifests.app(image, program, env=manifests.STORE_ENVIRONMENT)
    app.pop("volumeMounts")
    names = {f"{DOMAIN}/{key.replace('_', '-')}": value for key, value in annotations.items()}
    spec = {"containers": [app], "terminationGracePeriodSeconds": 2}
    defaults = {f"{DOMAIN}/pass-env": "AWS_ENDPOINT_URL,AWS_REGION,AWS_ACCESS_KEY_ID,AWS_SECRET_ACCESS_KEY"}
    return manifests.workload(name, spec, labels=LABEL, annotations=defaults | names)


def first_read(namespace: Cluster, pod: str, container: str = "app") -> dict[str, Any]:
    return json.loads(namespace.logs(pod, container).partition("first: ")[2].splitlines()[0])


def sidecar_of(pod: dict[str, Any]) -> dict[str, Any]:
    """The one container that is not the application's."""
    spec = pod["spec"]
    (found,) = [one for one in [*spec.get("initContainers", []), *spec["containers"]] if one["name"] != "app"]
    return found


def test_a_labelled_deployment_gets_the_sidecar_and_its_files(
    webhook: Cluster, namespace: Cluster, store: Store, image: str, reads: Callable[[str, str], str]
) -> None:
    store.put(shop__db="one")
    namespace.apply(manifests.config_map("shop-templates", app__json=TEMPLATE))
    namespace.apply(shop(image, templates="shop-templates", refresh="1s"))
    pod = namespace.pod_of(app="shop")
    found = namespace.ready(pod)
    assert sidecar_of(found)["restartPolicy"] == "Always"
    assert first_read(namespace, pod) == {"password": "one"}
    store.put(shop__db="two")
    until(lambda: json.loads(reads(pod, "/config/app.json")) == {"password": "two"}, what="the new value")
    namespace.apply(manifests.config_map("shop-templates", app__json='{"a": "AWSPARAMSTR:///shop/db"}'))
    until(lambda: json.loads(reads(pod, "/config/app.json")) == {"a": "two"}, what="the new template")


@pytest.mark.parametrize("mode", ["native-sidecar", "sidecar", "init"])
def test_each_mode_in_a_restricted_namespace(
    webhook: Cluster, namespace: Cluster, store: Store, image: str, mode: str
) -> None:
    namespace.kubectl("label", "namespace", namespace.namespace, "pod-security.kubernetes.io/enforce=restricted")
    store.put(shop__db=mode)
    annotation = {"template-app.json": TEMPLATE, "mode": mode}
    namespace.apply(shop(image, **annotation))
    pod = namespace.pod_of(app="shop")
    namespace.ready(pod)
    assert first_read(namespace, pod) == {"password": mode}


def test_a_misspelt_annotation_is_a_warning_and_a_wrong_value_a_refusal(
    webhook: Cluster, namespace: Cluster, image: str
) -> None:
    bare = shop(image, **{"template-app.json": "{}", "refesh": "1s"})["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **bare, "metadata": {**bare["metadata"], "name": "shop"}}
    done = subprocess.run(
        ["kubectl", "-n", namespace.namespace, "apply", "--dry-run=server", "-f", "-"],
        input=json.dumps(pod),
        text=True,
        capture_output=True,
        check=True,
        env={**os.environ, "KUBECONFIG": namespace.kubeconfig},
    )
    assert "refresh" in done.stderr
    pod["metadata"]["annotations"][f"{DOMAIN}/refresh"] = "soon"
    with pytest.raises(Refused, match="refresh"):
        namespace.apply(pod, dry_run=True)


def test_without_a_webhook_labelled_pods_wait_and_others_do_not(
    webhook: Cluster, namespace: Cluster, store: Store, image: str
) -> None:
    store.put(shop__db="one")
    deployment = f"deployment/{_deployment(webhook)}"
    webhook.kubectl("scale", deployment, "--replicas=0")
    try:
        until(lambda: not webhook.items("pods"), what="the webhook's pods to be gone")
        namespace.apply(shop(image, **{"template-app.json": TEMPLATE}))

        def refused() -> bool:
            events = namespace.items("events", "--field-selector", "reason=FailedCreate")
            return any("webhook" in event["message"] for event in events)

        until(refused, what="the ReplicaSet's Event")
        assert not namespace.items("pods", "-l", "app=shop")
        other = manifests.workload("other", {"containers": [manifests.app(image, "import time; time.sleep(600)")]})
        other["spec"]["template"]["spec"]["containers"][0].pop("volumeMounts")
        namespace.apply(other)
        namespace.ready(namespace.pod_of(app="other"))
    finally:
        # Its own pods are not for it to admit: nothing keeps it from coming back.
        webhook.kubectl("scale", deployment, "--replicas=2")
        webhook.kubectl("rollout", "status", deployment, "--timeout=170s")
    # The controller tries again by itself, but with growing pauses: `kubectl rollout restart` is the quick way.
    namespace.kubectl("rollout", "restart", "deployment/shop")
    until(lambda: [pod for pod in namespace.items("pods", "-l", "app=shop") if _is_ready(pod)], what="the pod")


def test_certificates_are_rotated_under_load_and_no_pod_is_refused(
    webhook: Cluster, cluster: Cluster, namespace: Cluster, image: str
) -> None:
    bare = shop(image, **{"template-app.json": "{}"})["spec"]["template"]
    failures: list[str] = []
    done = threading.Event()
    admitted = 0

    def load() -> None:
        nonlocal admitted
        number = 0
        while not done.is_set():
            number += 1
            metadata = {**bare["metadata"], "name": f"load-{number}"}
            try:
                out = namespace.kubectl(
                    *("apply", "--dry-run=server", "-o", "json", "-f", "-"),
                    stdin=json.dumps({"apiVersion": "v1", "kind": "Pod", **bare, "metadata": metadata}),
                )
                assert json.loads(out)["metadata"]["annotations"][f"{DOMAIN}/status"] == "injected"
                admitted += 1
            except (Refused, AssertionError, KeyError) as error:
                failures.append(str(error))

    def secret() -> dict[str, Any]:
        return until(lambda: next((one for one in webhook.items("secrets") if "tls.crt" in one.get("data", {})), None))

    def serving() -> str:
        return secret()["data"]["tls.crt"]

    def admitted_again() -> bool:
        metadata = {**bare["metadata"], "name": "first"}
        return bool(secret()) and bool(
            namespace.apply({"apiVersion": "v1", "kind": "Pod", **bare, "metadata": metadata}, dry_run=True)
        )

    seen: set[str] = set()
    thread = threading.Thread(target=load)
    try:
        # Begins a minute early, for clocks that are slow: renewed after two thirds of 105 s, which is 10 s from now.
        # The one that is there would be good for weeks.
        install(cluster, image, "webhook.certs.lifetime=45s")
        webhook.kubectl("patch", "secret", secret()["metadata"]["name"], "--type=merge", "-p", '{"data": null}')
        until(admitted_again, what="the new authority to be trusted", seconds=60)
        thread.start()
        end = time.monotonic() + 240
        while len(seen) < 4 and time.monotonic() < end:
            seen.add(serving())
            time.sleep(0.3)
    finally:
        done.set()
        if thread.is_alive():
            thread.join()
        install(cluster, image, "webhook.certs.lifetime=720h")
    assert len(seen) >= 4, "three rotations"
    assert admitted > 5
    assert not failures, failures[:2]


def test_a_job_with_the_injected_sidecar_completes(
    webhook: Cluster, namespace: Cluster, store: Store, image: str
) -> None:
    store.put(shop__db="one")
    template = shop(image, "print('first:', open('/config/app.json').read())", **{"template-app.json": TEMPLATE})
    template = template["spec"]["template"]
    template["spec"] |= {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 30,
    }  # an end by itself, under load too
    namespace.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "job"},
            "spec": {"backoffLimit": 0, "template": template},
        }
    )
    namespace.kubectl("wait", "--for=condition=Complete", "job/job", "--timeout=90s")
    (pod,) = namespace.items("pods", "-l", "app=shop")
    assert first_read(namespace, pod["metadata"]["name"]) == {"password": "one"}
    assert container_status(pod, sidecar_of(pod)["name"])["state"]["terminated"]["exitCode"] == 0


def _deployment(webhook: Cluster) -> str:
    (found,) = webhook.items("deployments")
    return found["metadata"]["name"]


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))
