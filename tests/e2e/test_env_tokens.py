"""Variables with tokens in an unmodified image, on a cluster that is not told to set variables from files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from e2e import manifests
from e2e.cluster import Cluster, Refused, until
from e2e.conftest import Store, install

DOMAIN = "config-injector.io"
# An image without Python, and without our C library.
FOREIGN = "localhost/busybox:1" if os.environ.get("E2E_NODE_DIRECTORY") else "busybox:1.36"


@pytest.fixture(scope="module")
def webhook(webhook: Cluster, image: str) -> Iterator[Cluster]:
    """The webhook of a cluster before Kubernetes 1.35; afterwards that of this one again."""
    install(webhook, image, "agent.envFileKeyRef=off")
    yield webhook
    install(webhook, image)


def foreign(**container: Any) -> dict[str, Any]:
    """A pod as its owner writes it."""
    environment = [*manifests.STORE_ENVIRONMENT, {"name": "DSN", "value": "postgres://AWSPARAMSTR:///shop/db@db"}]
    app = {"name": "app", "image": FOREIGN, "env": environment, "securityContext": manifests.RESTRICTED, **container}
    annotations = {
        f"{DOMAIN}/pass-env": "AWS_ENDPOINT_URL,AWS_REGION,AWS_ACCESS_KEY_ID,AWS_SECRET_ACCESS_KEY",
        f"{DOMAIN}/refresh": "1h",
    }
    metadata = {"name": "shop", "labels": {f"{DOMAIN}/inject": "enabled"}, "annotations": annotations}
    spec = {"containers": [app], "terminationGracePeriodSeconds": 2}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_a_container_with_a_command_gets_them(webhook: Cluster, namespace: Cluster, store: Store, image: str) -> None:
    namespace.kubectl("label", "namespace", namespace.namespace, "pod-security.kubernetes.io/enforce=restricted")
    store.put(shop__db="it's $(one)")
    program = 'echo "$DSN $0 $$$$"; while true; do sleep 1; done'  # `$$` is the kubelet's way to write a `$`
    namespace.apply(foreign(command=["sh", "-c", program], args=["$(AWS_REGION)"]))
    namespace.ready("shop")
    told = until(lambda: namespace.logs("shop", "app"), what="what it prints")
    assert told == "postgres://it's $(one)@db eu-west-1 1\n", "as process 1, as it would be"


def test_a_container_without_a_command_is_told_what_it_can_do(webhook: Cluster, namespace: Cluster) -> None:
    with pytest.raises(Refused, match="names no command that injector could start with it"):
        namespace.apply(foreign())
