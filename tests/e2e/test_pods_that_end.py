"""The sidecar or its pod is ended from outside, on a real node: killed, out of memory, evicted, drained."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from e2e import manifests
from e2e.cluster import Cluster, container_status, until
from e2e.conftest import Store

TEMPLATE = '{"password": "AWSPARAMSTR:///shop/db"}'
# Never a moment without its file, else it says so; at the end of its pod it reads it once more.
PROGRAM = """
import signal, sys, time
def last(*_):
    print("last:", open("/config/app.json").read(), flush=True)
    time.sleep(1)
    print("after a second:", open("/config/app.json").read(), flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, last)
print("ready", flush=True)
while True:
    try:
        open("/config/app.json").close()
    except OSError as error:
        print("without a file:", error, flush=True)
    time.sleep(0.01)
"""
KILL = """
import os, pathlib, signal
for path in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if path.joinpath("comm").read_text().strip() == "injector":
            os.kill(int(path.name), signal.SIGKILL)
    except OSError:
        pass  # it has ended meanwhile
"""
# Files in memory are charged to who writes them, and no end of a process frees them: the kernel ends the larger ones
# first, which this is not, until the sidecar itself goes.
TAKE_MEMORY = """
with open("/tmp/x", "wb", 0) as file:
    while True:
        file.write(bytes(1_000_000))
"""


def deploy(namespace: Cluster, image: str, tmp: dict[str, str] | None = None, **extra: Any) -> str:
    """The name of a pod that is ready. *tmp* is the emptyDir at /tmp of the sidecar."""
    program = manifests.app(image, PROGRAM)
    spec = manifests.pod("templates", [program], init=[manifests.sidecar(image, "--refresh", "1s")], **extra)
    if tmp is not None:
        next(volume for volume in spec["volumes"] if volume["name"] == "tmp")["emptyDir"] = tmp
    namespace.apply(manifests.config_map("templates", app__json=TEMPLATE), manifests.workload("shop", spec))
    pod = namespace.pod_of(app="shop")
    namespace.ready(pod)
    until(lambda: "ready" in namespace.logs(pod, "app"), what="the application")
    return pod


def restarts(namespace: Cluster, pod: str) -> tuple[int, int]:
    """Of the sidecar and of the application."""
    found = namespace.get("pod", pod)
    sidecar, app = (int(container_status(found, name)["restartCount"]) for name in ("injector", "app"))
    return sidecar, app


@pytest.mark.fault(30, "a sidecar that is killed is started again; the files stay, the application is not disturbed")
def test_a_killed_sidecar_comes_back_and_the_application_notices_nothing(
    namespace: Cluster, store: Store, image: str, reads: Callable[[str, str], str]
) -> None:
    store.put(shop__db="one")
    pod = deploy(namespace, image, shareProcessNamespace=True)
    namespace.sh(pod, "app", "python3", "-c", KILL)
    until(lambda: restarts(namespace, pod) == (1, 0), what="the restart")
    ended = container_status(namespace.get("pod", pod), "injector")["lastState"]["terminated"]
    assert ended["exitCode"] == 137
    store.put(shop__db="two")
    until(lambda: json.loads(reads(pod, "/config/app.json"))["password"] == "two", what="the new value")
    namespace.ready(pod)
    assert "without a file" not in namespace.logs(pod, "app")
    assert restarts(namespace, pod) == (1, 0)


@pytest.mark.fault(73, "a sidecar at its memory limit is ended by the kernel and started again; the files stay")
def test_a_sidecar_out_of_memory_comes_back_and_the_application_notices_nothing(
    namespace: Cluster, store: Store, image: str, reads: Callable[[str, str], str]
) -> None:
    store.put(shop__db="one")
    memory = {"medium": "Memory", "sizeLimit": "512Mi"}  # more than the sidecar's limit
    pod = deploy(namespace, image, tmp=memory)
    subprocess.run(
        ["kubectl", "-n", namespace.namespace, "exec", pod, "-c", "injector", "--", "python3", "-c", TAKE_MEMORY],
        capture_output=True,
        check=False,  # it goes down with its container
        timeout=100,
        env={**os.environ, "KUBECONFIG": namespace.kubeconfig},
    )

    def ended() -> dict[str, Any] | None:
        return container_status(namespace.get("pod", pod), "injector").get("lastState", {}).get("terminated")

    terminated = until(ended, what="the end of the sidecar")
    assert (terminated["reason"], terminated["exitCode"]) == ("OOMKilled", 137)
    store.put(shop__db="two")
    until(lambda: json.loads(reads(pod, "/config/app.json"))["password"] == "two", what="the new value")
    assert "without a file" not in namespace.logs(pod, "app")
    assert restarts(namespace, pod) == (1, 0)


def test_a_drained_pods_application_has_its_file_to_the_last(namespace: Cluster, store: Store, image: str) -> None:
    """Evicted by the API, as `kubectl drain` does it: the native sidecar ends after the application."""
    store.put(shop__db="one")
    pod = deploy(namespace, image, terminationGracePeriodSeconds=30)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    following = subprocess.Popen(
        ["kubectl", "-n", namespace.namespace, "logs", "-f", pod, "-c", "app"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "KUBECONFIG": namespace.kubeconfig},
    )
    try:
        path = f"/api/v1/namespaces/{namespace.namespace}/pods/{pod}/eviction"
        namespace.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
        log, _ = following.communicate(timeout=120)
    finally:
        following.kill()
        following.wait()
    assert 'last: {"password": "one"}' in log
    assert 'after a second: {"password": "one"}' in log
    assert "without a file" not in log
    until(lambda: pod not in [one["metadata"]["name"] for one in namespace.items("pods")], what="the pod's end")
    namespace.ready(namespace.pod_of(app="shop"))


@pytest.mark.timeout(600)  # the kubelet looks at a volume's size once a minute
def test_a_pod_that_the_kubelet_evicts_is_replaced_by_one_with_its_files(
    namespace: Cluster, store: Store, image: str, reads: Callable[[str, str], str]
) -> None:
    """For the disk that it takes: the one pressure that a test can make for a single pod."""
    store.put(shop__db="one")
    pod = deploy(namespace, image)
    spec = namespace.get("deployment", "shop")
    template = spec["spec"]["template"]["spec"]
    template["volumes"].append({"name": "disk", "emptyDir": {"sizeLimit": "1Mi"}})
    template["containers"][0]["volumeMounts"].append({"name": "disk", "mountPath": "/disk"})
    namespace.apply(spec)
    until(lambda: namespace.pod_of(app="shop") != pod, what="the pod with a disk")
    pod = namespace.pod_of(app="shop")
    namespace.ready(pod)
    namespace.sh(pod, "app", "python3", "-c", "open('/disk/x', 'wb').write(b'x' * 8_000_000)")
    until(lambda: namespace.get("pod", pod)["status"].get("reason") == "Evicted", what="the eviction", seconds=300)

    def other() -> str | None:
        ready = [one for one in namespace.items("pods", "-l", "app=shop") if one["status"]["phase"] == "Running"]
        return ready[0]["metadata"]["name"] if len(ready) == 1 else None

    fresh = until(other, what="another pod")
    namespace.ready(fresh)
    assert json.loads(reads(fresh, "/config/app.json"))["password"] == "one"
