"""
What injection costs on a cluster: `python -m benchmarks.cluster`, which is no part of `make bench`.

Needs E2E_KUBECONFIG, kubectl and helm on PATH, and E2E_IMAGE, our image, in the cluster: as it is with
`E2E_COMMAND=".venv/bin/python -m benchmarks.cluster" make e2e`. Measured: `helm install` to
the first injected pod that is ready; the time from creating a pod to its application's container running, with and
without the sidecar, in turns; memory and CPU of the sidecar in a quiet time, from its cgroup and its process.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # its cluster is that of the tests

from e2e import manifests
from e2e.cluster import Cluster, container_status, until
from e2e.conftest import RELEASE, RELEASE_NAMESPACE, install

TURNS = 5
QUIET = 20.0
LABEL = "config-injector.io/inject"
ANNOTATIONS = {"config-injector.io/template-app.json": '{"node": "ENV://HOSTNAME"}'}
USAGE = """
import os, pathlib
def number(*names):
    for name in names:
        for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/cpu,cpuacct"):
            path = pathlib.Path(root, name)
            if path.exists():
                text = path.read_text()
                return int(text.split("usage_usec ")[1].split()[0]) * 1000 if "usage_usec" in text else int(text)
rss = next(line for line in open("/proc/1/status") if line.startswith("VmRSS")).split()[1]
fields = open("/proc/1/stat").read().rpartition(")")[2].split()
ticks = sum(int(fields[index]) for index in (11, 12))
memory = number("memory.current", "memory.usage_in_bytes")
print(int(rss) * 1024, memory, ticks / os.sysconf("SC_CLK_TCK"), number("cpu.stat", "cpuacct.usage") / 1e9)
"""


def pod(image: str, name: str, *, injected: bool) -> dict[str, Any]:
    container = manifests.app(image, "import time; time.sleep(600)")
    container.pop("volumeMounts")
    metadata: dict[str, Any] = {"name": name}
    if injected:
        metadata |= {"labels": {LABEL: "enabled"}, "annotations": ANNOTATIONS}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def start_delay(own: Cluster, image: str, *, injected: bool) -> float:
    """Seconds, of one resolution, from the pod's creation to its application's start."""
    name = f"bench-{uuid.uuid4().hex[:6]}"
    began = time.monotonic()
    own.apply(pod(image, name, injected=injected))

    def running() -> dict[str, Any] | None:
        state = container_status(own.get("pod", name), "app").get("state", {})
        return state.get("running")

    until(running, what=name, every=0.05)
    took = time.monotonic() - began
    own.kubectl("delete", "pod", name, "--wait=false")
    return took


def main() -> None:
    image = os.environ["E2E_IMAGE"]
    cluster = Cluster(os.environ["E2E_KUBECONFIG"])
    namespace = f"bench-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", namespace)
    own = cluster.within(namespace)
    until(lambda: own.get("serviceaccount", "default"))
    try:
        began = time.monotonic()
        install(cluster, image)
        installed = time.monotonic() - began
        until(lambda: own.apply(pod(image, "first", injected=True)), what="the first pod to be admitted")
        own.ready("first")
        ready = time.monotonic() - began
        print(f"helm install --wait: {installed:.1f} s; to the first injected pod ready: {ready:.1f} s")
        turns = [[start_delay(own, image, injected=injected) for injected in (False, True)] for _ in range(TURNS)]
        without, beside = (statistics.median(column) for column in zip(*turns, strict=True))
        print(f"application runs after {without:.2f} s without, {beside:.2f} s with the sidecar (medians of {TURNS})")
        until(lambda: own.sh("first", "injector", "python3", "-c", USAGE))
        before, at = own.sh("first", "injector", "python3", "-c", USAGE).split(), time.monotonic()
        time.sleep(QUIET)
        after, then = own.sh("first", "injector", "python3", "-c", USAGE).split(), time.monotonic()
        rss, group = (int(number) / 2**20 for number in after[:2])
        process, whole = ((float(after[i]) - float(before[i])) / (then - at) * 1000 for i in (2, 3))
        print(f"sidecar: {rss:.0f} MiB resident, {group:.0f} MiB in its cgroup")
        print(f"sidecar, idle CPU: {process:.1f} m; {whole:.1f} m with its probes")
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
        cluster.within(RELEASE_NAMESPACE).helm("uninstall", RELEASE)


if __name__ == "__main__":
    main()
