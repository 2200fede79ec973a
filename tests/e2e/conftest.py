"""
Fixtures of the cluster tests: a cluster, our image in it, a namespace for each test, a Parameter Store in a pod.

`make e2e` sets the variables (tests/e2e/run.sh); without E2E_KUBECONFIG every test here is skipped.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e import manifests
from e2e.cluster import Cluster, Refused, run, until

KUBECONFIG = os.environ.get("E2E_KUBECONFIG", "")
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
IMAGE = "localhost/injector:e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="E2E_KUBECONFIG names no cluster to test on: make e2e")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(300))
            if not KUBECONFIG:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """A cluster that may be changed as one likes."""
    found = Cluster(KUBECONFIG)
    found.kubectl("get", "--raw", "/readyz")
    return found


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """
    Our image, in the cluster: that of E2E_IMAGE, which is there already; or the archive E2E_IMAGE_ARCHIVE, or one
    that is built here, brought there by the command E2E_LOAD.
    """
    if ready := os.environ.get("E2E_IMAGE"):
        return ready
    archive = os.environ.get("E2E_IMAGE_ARCHIVE") or _build(tmp_path_factory.mktemp("image") / "injector.tar")
    load = os.environ.get("E2E_LOAD")
    if not load:
        pytest.fail("say how an image comes into this cluster: E2E_LOAD='kind load image-archive', or E2E_IMAGE")
    run(*shlex.split(load), archive, seconds=200)
    return IMAGE


def _build(archive: Path) -> str:
    base = os.environ.get("E2E_BASE_ARCHIVE")
    command = [sys.executable, "-m", "tools.build_image", "-o", str(archive), "--tag", IMAGE, "--no-compress"]
    subprocess.run([*command, *(["--base", base] if base else [])], cwd=ROOT, check=True, timeout=280)
    return str(archive)


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
CHART = ROOT / "charts" / "injector"


def install(cluster: Cluster, image: str, *settings: str) -> None:
    """Installs or changes the chart of the webhook, and waits until its pods are ready."""
    name, _, tag = image.rpartition(":")
    values = (f"image.repository={name}", f"image.tag={tag}", "webhook.certs.checkInterval=1s", *settings)
    cluster.within(RELEASE_NAMESPACE).helm(
        *("upgrade", "--install", RELEASE, str(CHART), "--create-namespace", "--wait", "--timeout", "170s"),
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
