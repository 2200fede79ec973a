"""A cluster for tests: kubectl as a program, objects as dicts, and waiting that is generous and says what it saw."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 180.0
"""Seconds that a test waits for what a cluster does: an API call, an image, a pod. Machines are loaded."""


class Refused(Exception):
    """kubectl ended badly; the text is what it wrote."""


def run(*command: str, stdin: str | None = None, seconds: float = 100, **environment: str) -> str:
    """Standard output of *command*. Raises Refused with its standard error, and its end only."""
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env={**os.environ, **environment},
    )
    if done.returncode:
        raise Refused(f"{' '.join(command[:6])}: {done.returncode}: {(done.stderr + done.stdout)[-3000:].strip()}")
    return done.stdout


def until(look: Callable[[], T], *, what: str = "it", seconds: float = PATIENCE, every: float = 0.2) -> T:
    """The first true answer of *look*; Refused and false answers are asked again. Fails telling the last one."""
    end = time.monotonic() + seconds
    while True:
        try:
            if answer := look():
                return answer
            last: object = answer
        except Refused as error:
            last = error
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}; last: {last!r}"
        time.sleep(every)


class Cluster:
    """The API server, by kubectl, in one namespace."""

    def __init__(self, kubeconfig: str, namespace: str = "default") -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace

    def within(self, namespace: str) -> Cluster:
        return Cluster(self.kubeconfig, namespace)

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 100) -> str:
        return run(
            "kubectl", "-n", self.namespace, *arguments, stdin=stdin, seconds=seconds, KUBECONFIG=self.kubeconfig
        )

    def helm(self, *arguments: str, seconds: float = 200) -> str:
        return run("helm", "-n", self.namespace, *arguments, seconds=seconds, KUBECONFIG=self.kubeconfig)

    def apply(self, *objects: dict[str, Any], dry_run: bool = False) -> str:
        """What kubectl printed; its warnings are not in it."""
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        return self.kubectl("apply", *(["--dry-run=server"] if dry_run else []), "-f", "-", stdin=document)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return json.loads(self.kubectl("get", kind, name, "-o", "json"))

    def items(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        return json.loads(self.kubectl("get", kind, *arguments, "-o", "json"))["items"]

    def events(self, pod: str) -> list[dict[str, Any]]:
        """All of the pod *pod*, of whatever component."""
        return self.items("events", "--field-selector", f"involvedObject.name={pod}")

    def sh(self, pod: str, container: str, *command: str) -> str:
        return self.kubectl("exec", pod, "-c", container, "--", *command)

    def logs(self, pod: str, container: str, *arguments: str) -> str:
        return self.kubectl("logs", pod, "-c", container, *arguments)

    def ready(self, pod: str, *, seconds: float = PATIENCE) -> dict[str, Any]:
        """Waits until *pod* is ready, and gives it."""

        def look() -> dict[str, Any] | None:
            found = self.get("pod", pod)
            return found if condition(found, "Ready") else None

        return until(look, what=f"pod {pod} to be ready", seconds=seconds)

    def pod_of(self, **labels: str) -> str:
        """The name of the one pod with *labels* that is not being deleted."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())

        def look() -> str | None:
            found = [pod for pod in self.items("pods", "-l", selector) if "deletionTimestamp" not in pod["metadata"]]
            return found[0]["metadata"]["name"] if len(found) == 1 else None

        return until(look, what=f"one pod with {selector}")


def condition(found: dict[str, Any], kind: str) -> bool:
    conditions = found.get("status", {}).get("conditions", [])
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)


def container_status(pod: dict[str, Any], name: str) -> dict[str, Any]:
    """The status of the container *name*, init containers included; empty when there is none yet."""
    status = pod.get("status", {})
    known = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return next((one for one in known if one["name"] == name), {})
