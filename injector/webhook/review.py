"""
From the body of a request to the body of its answer: AdmissionReview (admission.k8s.io/v1) in, AdmissionReview out.

Anything may come: what is no review gets an HTTP status of its own, and always a review as body that says why.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct, field

from injector.errors import AdmissionRefused, ReviewInvalid
from injector.webhook.mutation import Answer, mutate
from injector.webhook.pod import Pod
from injector.webhook.wishes import MOST_WARNINGS

if TYPE_CHECKING:
    from injector.webhook.defaults import Defaults

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"
LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a body; the API server's own limit for an object is 3 MiB."""

_LONGEST_UID: Final = 256
_LONGEST_WARNING: Final = 256  # longer ones are cut by the API server, or left out
_LONGEST_MESSAGE: Final = 1024
_REFUSED: Final = 400


class Resource(Struct, frozen=True):
    resource: str = ""


class Request(Struct, frozen=True, rename="camel"):
    """The part of a request that counts; the object is looked at when it is known to be a pod."""

    uid: str = ""
    resource: Resource = Resource()
    sub_resource: str | None = None
    operation: str = ""
    namespace: str | None = None
    raw_pod: msgspec.Raw = field(name="object", default=msgspec.Raw())


class Review(Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    request: Request | None = None


class Reply(Struct, frozen=True):
    """
    An answer: HTTP `status` and `body`. For log and metrics: `result`, the review's `uid` and `namespace`, and why.
    """

    status: int
    body: bytes
    result: str
    uid: str = ""
    namespace: str = ""
    reason: str = ""
    warnings: tuple[str, ...] = field(default=())


_reviews: Final = msgspec.json.Decoder(Review)
_pods: Final = msgspec.json.Decoder(Pod)
_encode: Final = msgspec.json.Encoder().encode


def respond(body: bytes, defaults: Defaults) -> Reply:
    """The answer to *body*. Raises nothing for any bytes."""
    request = Request()
    try:
        request = _request(body)
        answer = _answer(request, defaults)
    except ReviewInvalid as error:
        return reply_to_invalid(error, request.uid)
    except AdmissionRefused as error:
        return _refusal(request, error)
    response: dict[str, Any] = {"uid": request.uid, "allowed": True}
    if answer.operations:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(_encode(answer.operations)).decode("ascii")
    warnings = tuple(_printable(text, _LONGEST_WARNING) for text in answer.warnings[:MOST_WARNINGS])
    if warnings:
        response["warnings"] = warnings
    namespace = request.namespace or ""
    return Reply(200, _review(response), answer.result, request.uid, namespace, warnings=warnings)


def reply_to_invalid(error: ReviewInvalid, uid: str = "") -> Reply:
    """The answer to what is no review; *uid* if it was understood that far."""
    reason = _printable(error.message, _LONGEST_MESSAGE)
    response = {"uid": uid, "allowed": False, "status": {"code": error.status, "message": reason}}
    return Reply(error.status, _review(response), "invalid", uid, reason=reason)


def _request(body: bytes) -> Request:
    if not body:
        raise ReviewInvalid("the body is empty")
    try:
        review = _reviews.decode(body)
    except msgspec.ValidationError as error:  # says which field has which type, and nothing of what it holds
        raise ReviewInvalid(f"not an admission review: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ReviewInvalid("the body is not JSON, or nested too deeply") from None
    if review.kind != KIND or review.api_version != API_VERSION:
        raise ReviewInvalid(f"expected kind {KIND} of {API_VERSION}")
    request = review.request
    if request is None or not 0 < len(request.uid) <= _LONGEST_UID:
        raise ReviewInvalid("the review has no request, or its request no uid")
    return request


def _answer(request: Request, defaults: Defaults) -> Answer:
    if request.resource.resource != "pods":
        raise ReviewInvalid("the request is about something else than a pod")
    if request.operation != "CREATE" or request.sub_resource:
        return Answer("passed")  # ephemeral containers, for one: nothing can be added to a pod that runs
    if request.namespace in defaults.ignored_namespaces:
        return Answer("ignored")
    return mutate(_pod(request), defaults)


def _pod(request: Request) -> Pod:
    if bytes(request.raw_pod) in (b"", b"null"):
        raise ReviewInvalid("the request has no object")
    try:
        return _pods.decode(request.raw_pod)
    except msgspec.ValidationError as error:
        raise ReviewInvalid(f"the object is no pod: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ReviewInvalid("the object is not JSON, or nested too deeply") from None


def _refusal(request: Request, error: AdmissionRefused) -> Reply:
    reason = error.message + (f" ({error.hint})" if error.hint else "")
    reason = _printable(reason, _LONGEST_MESSAGE)
    status = {"code": _REFUSED, "reason": "BadRequest", "message": reason}
    response = {"uid": request.uid, "allowed": False, "status": status}
    return Reply(200, _review(response), "refused", request.uid, request.namespace or "", reason)


def _review(response: dict[str, Any]) -> bytes:
    return _encode({"apiVersion": API_VERSION, "kind": KIND, "response": response})


def _printable(text: str, longest: int) -> str:
    """One line: names from the pod may hold anything."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"
