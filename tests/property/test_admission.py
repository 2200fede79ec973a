"""Any pod, any annotations, any bytes: an answer, and a patch that adds and is applied once."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

import jsonpatch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from webhook_reviews import DEFAULTS, WITH_ENV_FILES, D, a_pod, a_review, ask, patch_of, response_of

from injector.webhook.catalogue import OF_ONE_TEMPLATE, PLAIN
from injector.webhook.defaults import Defaults
from injector.webhook.review import respond

MANY = settings(
    max_examples=int(os.environ.get("ADMISSION_EXAMPLES", "600")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

TEXTS = st.text(max_size=40)
NAMES = st.sampled_from(["app", "web", "job", "a-b", "injector-x"])
KEYS = st.one_of(
    st.sampled_from([D + name for name in PLAIN]),
    st.builds(
        lambda family, name: D + family + name, st.sampled_from(list(OF_ONE_TEMPLATE)), st.text("ab.-_/", max_size=5)
    ),
    st.builds(lambda name: D + name, st.text(max_size=20)),
    st.sampled_from(["example.com/x", "a", ""]),
)
LIKELY = st.sampled_from(
    (
        *("true", "false", "1m", "off", "shop", "a,b", "0640", "init", "sidecar", "native-sidecar", "/x", "x", "keep"),
        *("signal:HUP:process=nginx", "exec:/bin/x 'y z'", "default", "http", "16Mi", "1000", "AWSPARAMSTR:///a|b"),
    )
)
ANNOTATIONS = st.dictionaries(KEYS, st.one_of(LIKELY, LIKELY, TEXTS), max_size=6)
# What is nearly always right, so that most pods are injected.
SOUND = st.fixed_dictionaries(
    {D + "templates": st.sampled_from(["shop", "a,b"])},
    optional={
        D + "mode": st.sampled_from(["native-sidecar", "sidecar"]),
        D + "refresh": st.sampled_from(["1m", "off"]),
        D + "notify": st.sampled_from(["signal:HUP:pid=1", "exec:/bin/x 'y z'\nhttp:http://h/x"]),
        D + "template-a.conf": TEXTS.filter(lambda text: "\0" not in text),
        D + "perms-a.conf": st.sampled_from(["0600", "640"]),
        D + "init-first": st.sampled_from(["true", "false"]),
        D + "run-as-user": st.just("7"),
        D + "share-process-namespace": st.just("false"),
        D + "qqq": TEXTS,
        "other/x": TEXTS,
    },
)
VARIABLES = st.fixed_dictionaries(
    {"name": st.sampled_from(["A", "B", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"])},
    optional={
        "value": st.one_of(st.sampled_from(["AWSPARAMSTR:///a", "/var/run/t/token", "$(A)"]), TEXTS),
    },
)
MOUNTS = st.fixed_dictionaries(
    {"name": NAMES, "mountPath": st.sampled_from(["/data", "/var/run/t", "/x/y"])},
    optional={"readOnly": st.booleans(), "recursiveReadOnly": st.just("Enabled"), "subPathExpr": st.just("$(A)")},
)
CONTAINERS = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "image": TEXTS,
        "command": st.sampled_from([["/x"], ["/x", "$(B)"], []]),
        "env": st.one_of(st.none(), st.lists(VARIABLES, max_size=3)),
        "volumeMounts": st.one_of(st.none(), st.lists(MOUNTS, max_size=2)),
        "securityContext": st.fixed_dictionaries({}, optional={"runAsUser": st.sampled_from([0, 5])}),
        "aFieldOfTheFuture": st.just({"x": [1, {"y": None}]}),
    },
)


def unique(containers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({each["name"]: each for each in containers}.values())


PODS = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"labels": st.just({D + "inject": "enabled"}), "annotations": st.one_of(SOUND, SOUND, ANNOTATIONS)},
            optional={"generateName": TEXTS, "ownerReferences": st.just([{"kind": "Job"}])},
        ),
        "spec": st.fixed_dictionaries(
            {"containers": st.lists(CONTAINERS, min_size=1, max_size=3).map(unique)},
            optional={
                "initContainers": st.one_of(st.none(), st.lists(CONTAINERS, max_size=2).map(unique)),
                "volumes": st.one_of(st.none(), st.lists(st.fixed_dictionaries({"name": NAMES}), max_size=2)),
                "hostNetwork": st.booleans(),
                "shareProcessNamespace": st.booleans(),
                "securityContext": st.fixed_dictionaries({}, optional={"fsGroup": st.just(5)}),
                "os": st.fixed_dictionaries({"name": st.sampled_from(["linux", "windows"])}),
                "aFieldOfTheFuture": st.just([{"x": 1}]),
            },
        ),
    },
    optional={"status": st.just({})},
)


def kept(before: Any, after: Any, *, of_env: bool = False) -> bool:
    """Whether all of *before* is in *after*: members as they are, items in their order, with others between them."""
    if isinstance(before, dict) and isinstance(after, dict):
        return all(
            key in after
            and (kept(item, after[key], of_env=key == "env") or (key == "command" and started(before, after)))
            for key, item in before.items()
        )
    if isinstance(before, list) and isinstance(after, list):
        rest = iter(after)
        return all(any(kept(item, other) or (of_env and replaced(item, other)) for other in rest) for item in before)
    return before is None or before == after


def replaced(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """A variable with a token that comes from a file: the one thing that is changed and not added."""
    return before["name"] == after["name"] and "AWSPARAMSTR" in before["value"] and "fileKeyRef" in after["valueFrom"]


def started(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """A command behind our program, of a container that has variables with tokens: the other thing that is changed."""
    has_tokens = any("AWSPARAMSTR" in variable.get("value", "") for variable in before.get("env") or ())
    return (
        has_tokens
        and after["command"][0].startswith("/injector/")
        and after["command"][-len(before["command"]) :] == before["command"]
    )


injections = 0


@MANY
@given(PODS, st.sampled_from([WITH_ENV_FILES, DEFAULTS]))
def test_the_patch_adds_to_any_pod_and_is_applied_once(pod: dict[str, Any], defaults: Defaults) -> None:
    global injections
    reply = ask(pod, defaults)
    assert reply.status == 200
    response = response_of(reply)
    if not response["allowed"]:
        assert "patch" not in response
        return
    operations = patch_of(reply)
    injections += bool(operations)
    replaces = [op["path"] for op in operations if op["op"] != "add"]
    assert all("/env/" in path or path.endswith("/command") for path in replaces)
    after = jsonpatch.apply_patch(copy.deepcopy(pod), operations)
    assert kept(pod, after)
    again = ask(after, defaults)
    assert response_of(again)["allowed"]
    assert patch_of(again) == []


def test_most_of_those_pods_were_injected() -> None:
    """Else the property above says nothing."""
    if injections == 0:
        test_the_patch_adds_to_any_pod_and_is_applied_once()
    assert injections > 100


@MANY
@given(ANNOTATIONS)
def test_any_annotations_are_taken_or_refused_by_name(annotations: dict[str, str]) -> None:
    reply = ask(a_pod(annotations))
    assert reply.status == 200
    response = response_of(reply)
    assert response["allowed"] or response["status"]["message"].isprintable()
    if response["allowed"] and "patch" in response:
        for argument in arguments_of(patch_of(reply)):
            assert "\0" not in argument
            # Every $ is doubled: nothing is left that Kubernetes could expand.
            assert argument.replace("$$", "").count("$") == 0


def arguments_of(operations: list[dict[str, Any]]) -> list[str]:
    added = [item for op in operations for item in (op["value"] if isinstance(op["value"], list) else [op["value"]])]
    return [argument for item in added if isinstance(item, dict) for argument in item.get("args", [])]


@MANY
@given(st.binary(max_size=300))
def test_any_bytes_get_an_answer(body: bytes) -> None:
    reply = respond(body, DEFAULTS)
    assert reply.status == 400
    response_of(reply)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@MANY
@given(st.data())
def test_a_review_with_anything_anywhere_gets_an_answer(data: st.DataObject) -> None:
    """A sound review, of which one part is replaced by something else, or one stretch of bytes."""
    review = a_review(a_pod({D + "templates": "shop"}, volumes=[{"name": "x"}], initContainers=[{"name": "y"}]))
    places = [
        (holder, key)
        for holder in every(review)
        for key in (holder if isinstance(holder, dict) else range(len(holder)))
    ]
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = data.draw(JSON)
    body = bytearray(json.dumps(review).encode())
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=10))
    reply = respond(bytes(body), DEFAULTS)
    assert reply.status in (200, 400)
    response_of(reply)


def every(node: Any) -> list[Any]:
    if not isinstance(node, (dict, list)):
        return []
    inner = node.values() if isinstance(node, dict) else node
    return [node, *(found for child in inner for found in every(child))] if node else []
