"""
Fixtures of the cluster tests: a cluster, our image in it, a namespace for each test, a Parameter Store in a pod.

`make e2e` sets the variables (tests/e2e/run.sh); without E2E_KUBECONFIG every test here is skipped.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import manifests
from e2e.cluster import Cluster, Refused, until
from e2e.node import Node

KUBECONFIG = os.environ.get("E2E_KUBECONFIG", "")
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TURNS = {
    "test_injected_pods": "release",
    "test_sidecar_mode": "release",
    "test_doctor": "release",
    "test_webhook_admission": "admission",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="E2E_KUBECONFIG names no cluster to test on: make e2e")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(600))
            if not KUBECONFIG:
                item.add_marker(skip)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """
    Tests of what is installed once take turns, in one process, since they change it; the others run wherever there is
    room. By file, since groups (`xdist_group`) of xdist 3.8 do nothing under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Turns(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((group for file, group in TURNS.items() if file in nodeid), nodeid)

    return Turns(config, log)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """A cluster that may be changed as one likes."""
    found = Cluster(KUBECONFIG)
    found.kubectl("get", "--raw", "/readyz")
    return found


@pytest.fixture(scope="session")
def node(cluster: Cluster) -> Node:
    """The node of run.sh; skipped on a cluster of E2E_KUBECONFIG, whose API server and keys are not ours."""
    directory = os.environ.get("E2E_NODE_DIRECTORY") or pytest.skip("the cluster is no node that run.sh has started")
    return Node(Path(directory), cluster)


@pytest.fixture(scope="session")
def image() -> str:
    """Our image, in the cluster: run.sh brings it there and says its name."""
    return os.environ.get("E2E_IMAGE") or pytest.fail("E2E_IMAGE names no image of ours: run the tests by make e2e")


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A namespace of the test's own, gone with it. A failed test's pods and Events are printed before."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    own = cluster.within(name)
    # Pods are refused until the controller has made it.
    until(lambda: own.get("serviceaccount", "default"), what="the namespace's service account")
    failures = request.session.testsfailed
    yield own
    if request.session.testsfailed > failures:
        _tell(own)
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def _tell(own: Cluster) -> None:
    for command in (("get", "pods", "-o", "wide"), ("get", "events"), ("describe", "pods")):
        print(own.kubectl(*command))
    for pod in own.items("pods"):
        try:
            print(own.kubectl("logs", pod["metadata"]["name"], "--all-containers", "--prefix", "--tail=40"))
        except Refused as error:
            print(error)


class Store:
    """The Parameter Store of a namespace; its values are set from inside its pod."""

    def __init__(self, own: Cluster) -> None:
        self._own = own

    def put(self, **values: str) -> None:
        """Sets parameters; a name's `__` is a slash: `shop__db` is `/shop/db`."""
        self._behave({"values": {"/" + name.replace("__", "/"): value for name, value in values.items()}})

    def refuse(self, code: str | None) -> None:
        """Every call is refused with *code* from then on; None: none is."""
        self._behave({"refuse": code})

    def stop(self) -> None:
        self._own.kubectl("scale", "deployment/store", "--replicas=0")
        until(lambda: not self._own.items("pods", "-l", "app=store"), what="the store to be gone")

    def start(self) -> None:
        self._own.kubectl("scale", "deployment/store", "--replicas=1")
        self._own.kubectl("rollout", "status", "deployment/store", "--timeout=90s")

    def _behave(self, behaviour: object) -> None:
        program = (
            "import sys, urllib.request as u;"
            "u.urlopen(u.Request('http://127.0.0.1:8000/behaviour', sys.argv[1].encode(), method='PUT')).read()"
        )
        pod = self._own.pod_of(app="store")
        self._own.sh(pod, "store", "python3", "-c", program, json.dumps(behaviour))


@pytest.fixture
def store(namespace: Cluster, image: str) -> Store:
    """A Parameter Store that answers at http://store:8000 in the test's namespace."""
    namespace.apply(*manifests.store(image))
    namespace.kubectl("rollout", "status", "deployment/store", "--timeout=90s")
    return Store(namespace)


@pytest.fixture
def reads(namespace: Cluster) -> Callable[[str, str], str]:
    """Reads a file of the application's container: `reads(pod, path)`."""
    return lambda pod, path: namespace.sh(pod, "app", "python3", "-c", f"print(open({path!r}).read(), end='')")


RELEASE = "injector"
RELEASE_NAMESPACE = "injector-system"
OTHER_WEBHOOK = "e2e.config-injector.io/webhook"
CHART = ROOT / "charts" / "injector"


def install(cluster: Cluster, image: str, *settings: str) -> None:
    """
    Installs or changes the chart of the webhook, and waits until its pods are ready.

    Namespaces with the label OTHER_WEBHOOK are not its business: their tests bring another one.
    """
    name, _, tag = image.rpartition(":")
    elsewhere = json.dumps([{"key": OTHER_WEBHOOK, "operator": "DoesNotExist"}])
    values = (f"image.repository={name}", f"image.tag={tag}", "webhook.certs.checkInterval=1s", *settings)
    cluster.within(RELEASE_NAMESPACE).helm(
        *("upgrade", "--install", RELEASE, str(CHART), "--create-namespace", "--wait", "--timeout", "170s"),
        *("--set-json", f"webhook.namespaceSelector.matchExpressions={elsewhere}"),
        *(argument for value in values for argument in ("--set", value)),
    )


@pytest.fixture(scope="session")
def webhook(cluster: Cluster, image: str) -> Iterator[Cluster]:
    """The chart, installed once: its namespace. What the API server is told is valid when this is given."""
    install(cluster, image)
    own = cluster.within(RELEASE_NAMESPACE)

    def trusted() -> bool:
        found = own.items("mutatingwebhookconfigurations", "-l", f"app.kubernetes.io/instance={RELEASE}")
        return bool(found) and all(one["clientConfig"].get("caBundle") for one in found[0]["webhooks"])

    until(trusted, what="the certificate's authority")
    yield own
    own.helm("uninstall", RELEASE, "--wait")
