"""Kubernetes objects as the documentation shows them, written by hand: no chart and no webhook is needed for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FAKE_SSM = Path(__file__).parents[1] / "integration" / "fake_ssm.py"
RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
STORE_ENVIRONMENT = [
    {"name": "AWS_ENDPOINT_URL", "value": "http://store:8000"},
    {"name": "AWS_REGION", "value": "eu-west-1"},
    {"name": "AWS_ACCESS_KEY_ID", "value": "test"},
    {"name": "AWS_SECRET_ACCESS_KEY", "value": "test"},
]


def config_map(name: str, **data: str) -> dict[str, Any]:
    """A ConfigMap; the keys are the names of *data* with `__` for a dot."""
    files = {key.replace("__", "."): text for key, text in data.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": files}


def store(image: str) -> list[dict[str, Any]]:
    """A small Parameter Store (tests/integration/fake_ssm.py) behind the Service `store`, run by our image's Python."""
    container = {
        "name": "store",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-u", "/store/fake_ssm.py", "--host", "0.0.0.0", "--port", "8000"],
        "securityContext": RESTRICTED,
        "readinessProbe": {"httpGet": {"path": "/calls", "port": 8000}, "periodSeconds": 1},
        "volumeMounts": [{"name": "program", "mountPath": "/store"}],
    }
    return [
        config_map("store", fake_ssm__py=FAKE_SSM.read_text()),
        workload(
            "store",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [container],
                "volumes": [{"name": "program", "configMap": {"name": "store"}}],
            },
        ),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "store"},
            "spec": {"selector": {"app": "store"}, "ports": [{"port": 8000}]},
        },
    ]


def workload(name: str, pod: dict[str, Any], **metadata: dict[str, str]) -> dict[str, Any]:
    """A Deployment of one replica, with the label `app`."""
    labels = {"app": name, **metadata.get("labels", {})}
    template: dict[str, Any] = {"metadata": {"labels": labels}, "spec": pod}
    if "annotations" in metadata:
        template["metadata"]["annotations"] = metadata["annotations"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


def sidecar(image: str, *arguments: str, **extra: Any) -> dict[str, Any]:
    """`injector run` as a native sidecar; exec probes, whose output the kubelet shows in its Events."""
    return {
        "name": "injector",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "args": [
            *("run", "/templates", "--output-dir", "/config", "--listen", "127.0.0.1:9464"),
            *("--control", "/run/injector/control.sock", *arguments),
        ],
        "env": [*STORE_ENVIRONMENT, {"name": "INJECTOR_LISTEN", "value": "127.0.0.1:9464"}],
        "securityContext": RESTRICTED,
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "192Mi"}},
        "startupProbe": _probe("--startup", periodSeconds=1, failureThreshold=600),
        "readinessProbe": _probe("--ready", periodSeconds=2),
        "volumeMounts": [
            {"name": "templates", "mountPath": "/templates", "readOnly": True},
            {"name": "config", "mountPath": "/config"},
            {"name": "run", "mountPath": "/run/injector"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        **extra,
    }


def _probe(flag: str, **timing: int) -> dict[str, Any]:
    return {"exec": {"command": ["injector", "health", flag]}, "timeoutSeconds": 10, **timing}


def app(image: str, program: str, **extra: Any) -> dict[str, Any]:
    """An application in Python that has the rendered files at /config, read-only."""
    return {
        "name": "app",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-u", "-c", program],
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "config", "mountPath": "/config", "readOnly": True}],
        **extra,
    }


def pod(
    templates: str, containers: list[dict[str, Any]], *, init: list[dict[str, Any]], **extra: Any
) -> dict[str, Any]:
    """A pod's spec with the usual volumes; *templates* is a ConfigMap."""
    memory = {"medium": "Memory", "sizeLimit": "16Mi"}
    return {
        "terminationGracePeriodSeconds": 2,
        "initContainers": init,
        "containers": containers,
        "volumes": [
            {"name": "templates", "configMap": {"name": templates}},
            {"name": "config", "emptyDir": memory},
            {"name": "run", "emptyDir": memory},
            {"name": "tmp", "emptyDir": memory},
        ],
        **extra,
    }
