"""Pods, reviews and patches for the tests of the webhook."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import jsonpatch

from injector.webhook.defaults import Defaults
from injector.webhook.review import Reply, respond

D = "config-injector.io/"
DEFAULTS = Defaults(image="registry.example/injector:1")
WITH_ENV_FILES = Defaults(image="registry.example/injector:1", env_files=True)
ENABLED = {f"{D}inject": "enabled"}


def annotated(**wishes: str) -> dict[str, str]:
    """Annotations of our domain; `_` stands for `-`, `__` for `.`."""
    return {D + name.replace("__", ".").replace("_", "-"): text for name, text in wishes.items()}


def a_pod(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A labelled pod with a container `app`; *spec* replaces parts of its spec."""
    given = annotated(templates="shop") if annotations is None else annotations
    return {
        "metadata": {"generateName": "shop-", "labels": dict(ENABLED), "annotations": given},
        "spec": {"containers": [{"name": "app", "image": "app:1"}], **spec},
    }


def a_review(pod: Any, **request: Any) -> dict[str, Any]:
    """A review of *pod*; *request* replaces parts of its request."""
    asked = {
        "uid": "6ba7b810-9dad",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": "shop",
        "object": pod,
        **request,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}


def ask(pod: Any, defaults: Defaults = DEFAULTS, **request: Any) -> Reply:
    return respond(json.dumps(a_review(pod, **request)).encode(), defaults)


def response_of(reply: Reply) -> dict[str, Any]:
    """The answer's `response`, after a look at what every answer has."""
    document = json.loads(reply.body)
    assert document["apiVersion"] == "admission.k8s.io/v1"
    assert document["kind"] == "AdmissionReview"
    response = document["response"]
    assert isinstance(response["allowed"], bool)
    assert response["allowed"] or response["status"]["message"]
    return response


def patch_of(reply: Reply) -> list[dict[str, Any]]:
    response = response_of(reply)
    assert response["allowed"], response
    if "patch" not in response:
        return []
    assert response["patchType"] == "JSONPatch"
    return json.loads(base64.b64decode(response["patch"], validate=True))


def injected(pod: dict[str, Any], defaults: Defaults = DEFAULTS) -> dict[str, Any]:
    """*pod* with its patch applied, by a library that is not ours."""
    return jsonpatch.apply_patch(copy.deepcopy(pod), patch_of(ask(pod, defaults)))


def refusal(pod: dict[str, Any], defaults: Defaults = DEFAULTS) -> str:
    """Why *pod* is refused."""
    reply = ask(pod, defaults)
    response = response_of(reply)
    assert reply.status == 200
    assert not response["allowed"], "it was let in"
    assert "patch" not in response
    assert response["status"]["code"] == 400
    return response["status"]["message"]


def container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    found = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    return next(each for each in found if each["name"] == name)


def variables(given: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in given["env"]}
