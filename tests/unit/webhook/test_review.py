"""Bodies that are no reviews of pods, and answers to those that are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from webhook_reviews import DEFAULTS, D, a_pod, a_review, annotated, ask, response_of

from injector.webhook.review import respond

DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


def review(**changes: Any) -> bytes:
    return json.dumps({**a_review(a_pod()), **changes}).encode()


@pytest.mark.fault(
    76, "whatever is sent to the webhook is answered by a 4xx status and a review that says what is wrong"
)
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty"),
        (b"\xff\xfe", "not JSON"),
        (b"{", "not JSON"),
        (b"null", "not an admission review"),
        (b"[]", "not an admission review"),
        (b'"AdmissionReview"', "not an admission review"),
        (b"[" * 3_000_000, "not"),
        (DEEP, "nested too deeply"),
        (b"{}", "expected kind AdmissionReview"),
        (review(kind="Pod"), "expected kind AdmissionReview"),
        (review(apiVersion="admission.k8s.io/v1beta1"), "expected kind AdmissionReview of admission.k8s.io/v1"),
        (review(kind=7), "$.kind"),
        (review(request=None), "no request"),
        (review(request={}), "no uid"),
        (review(request={"uid": 7}), "$.request.uid"),
        (review(request={"uid": "x" * 1000}), "no uid"),
        (review(request=[]), "$.request"),
    ],
)
def test_what_is_no_review_is_told_what_it_is(body: bytes, message: str) -> None:
    reply = respond(body, DEFAULTS)
    assert reply.status == 400
    response = response_of(reply)
    assert message in response["status"]["message"]
    assert response["status"]["code"] == 400
    assert not response["allowed"]


@pytest.mark.parametrize(
    ("pod", "message"),
    [
        (None, "no object"),
        ([], "no pod"),
        ("x", "no pod"),
        ({}, "spec"),
        ({"spec": None}, "$.spec"),
        ({"spec": {}}, "containers"),
        ({"spec": {"containers": {}}}, "$.spec.containers"),
        ({"spec": {"containers": [None]}}, "$.spec.containers[0]"),
        ({"spec": {"containers": [{"name": "a", "env": [{"value": "x"}]}]}}, "name"),
        ({"spec": {"containers": [{"name": "a", "volumeMounts": "x"}]}}, "volumeMounts"),
        ({"metadata": {"annotations": {"a": 1}}, "spec": {"containers": []}}, "$.metadata.annotations"),
        ({"metadata": {"labels": []}, "spec": {"containers": []}}, "$.metadata.labels"),
        ({"metadata": "x", "spec": {"containers": []}}, "$.metadata"),
    ],
)
def test_what_is_no_pod_is_told_where_with_the_uid_of_the_question(pod: Any, message: str) -> None:
    reply = ask(pod)
    assert reply.status == 400
    response = response_of(reply)
    assert message in response["status"]["message"]
    assert response["uid"] == "6ba7b810-9dad"


def test_another_resource_than_pods_is_a_wrong_configuration() -> None:
    reply = ask(a_pod(), resource={"group": "apps", "version": "v1", "resource": "deployments"})
    assert reply.status == 400
    assert "something else than a pod" in reply.reason


def test_a_deep_field_that_nobody_looks_at_is_no_crash() -> None:
    body = json.dumps(a_review(a_pod(deep="@"))).replace('"@"', DEEP.decode()).encode()
    assert respond(body, DEFAULTS).status == 400


def test_null_lists_and_mappings_are_like_missing_ones() -> None:
    pod = a_pod(volumes=None, initContainers=None, securityContext=None, nodeSelector=None)
    pod["spec"]["containers"][0] |= {"env": None, "volumeMounts": None, "securityContext": None}
    pod["metadata"]["ownerReferences"] = None
    reply = ask(pod)
    assert reply.result == "injected"


def test_messages_are_one_printable_line() -> None:
    wishes = annotated(templates="s") | {D + "x\ny\x1b[31m\u202e": "1", D + "template-\n\x1b": "x"}
    reply = ask(a_pod(wishes))
    message = response_of(reply)["status"]["message"]
    assert message.isprintable()
    wishes.popitem()
    warnings = response_of(ask(a_pod(wishes)))["warnings"]
    assert all(warning.isprintable() for warning in warnings)


def test_the_uid_of_the_question_is_that_of_the_answer() -> None:
    for pod in (a_pod(), a_pod(annotated(templates="S")), a_pod({})):
        assert response_of(ask(pod, uid="é-1"))["uid"] == "é-1"
