"""
Rollouts on a real API server: E2E_KUBECONFIG names its kubeconfig, and it may be changed as one likes.

A control plane alone is enough: what counts is what the API server keeps.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys

import pytest

from injector.kube.rollout import HASH_ANNOTATION
from injector.notify.notifier import Notifier
from injector.settings.actions import RolloutAction, numbered
from injector.telemetry.logs import Level, Log
from injector.telemetry.meter import Meter
from injector.telemetry.vitals import Vitals

KUBECONFIG = os.environ.get("E2E_KUBECONFIG", "")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not KUBECONFIG, reason="E2E_KUBECONFIG names no cluster to test on"),
]

# In a process of its own, as in the product: the client leaves threads and warnings behind.
DEPLOYMENT = """
import json, os, sys
import kubernetes
kubernetes.config.load_kube_config(os.environ["E2E_KUBECONFIG"])
apps = kubernetes.client.AppsV1Api()
name = sys.argv[2]
if sys.argv[1] == "create":
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "none"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    apps.create_namespaced_deployment("default", {"metadata": {"name": name}, "spec": spec})
elif sys.argv[1] == "delete":
    apps.delete_namespaced_deployment(name, "default")
else:
    found = apps.read_namespaced_deployment(name, "default")
    print(json.dumps([found.metadata.generation, found.spec.template.metadata.annotations or {}]))
"""


def deployment(verb: str) -> str:
    command = [sys.executable, "-c", DEPLOYMENT, verb, f"injector-rollout-{os.getpid()}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout


async def test_three_replicas_restart_a_deployment_once_for_each_content() -> None:
    deployment("create")
    replicas = [
        Notifier(
            numbered(
                [RolloutAction(workload="deployment", resource=f"injector-rollout-{os.getpid()}", min_interval=1)]
            ),
            debounce_min=0.1,
            debounce_max=1.0,
            splay=None,
            environment={**os.environ, "KUBECONFIG": KUBECONFIG},
            log=Log(Level.OFF, stream=io.StringIO()),
            meter=Meter(),
            vitals=Vitals(),
        )
        for _ in range(3)
    ]
    tasks = [asyncio.ensure_future(replica.run()) for replica in replicas]
    try:
        hashes = set()
        for turn, digest in enumerate(("d1", "d2"), start=2):
            for replica in replicas:
                replica.changed("a.conf", "/out/a.conf", digest)
            while any(replica.status()[0].waiting for replica in replicas):
                await asyncio.sleep(0.1)
            assert all(replica.status()[0].error is None for replica in replicas)
            generation, annotations = json.loads(deployment("read"))
            assert generation == turn
            hashes.add(annotations[HASH_ANNOTATION])
        assert len(hashes) == 2
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        deployment("delete")
