"""
The short-lived process that restarts a workload: `python -m injector.kube.rollout DESCRIPTOR`.

It changes an annotation of the pod template, which is how `kubectl rollout restart` does it. The annotation is a hash
of the content that the pods should have: who finds it there already changes nothing, so any number of replicas make
one restart, and a restarted pod makes none. See docs/decisions/0070-rollout-annotation.md.
"""

from __future__ import annotations

import hashlib
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from injector.errors import NotifyDenied, NotifyError, NotifyFailed, NotifyNotFound, NotifyPostponed, NotifyTimeout
from injector.kube.messages import MISSING_EXTRA, RolloutAnswer, RolloutRequest
from injector.settings.schema import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Mapping

HASH_ANNOTATION: Final = f"{DOMAIN}/content-hash"
"""On the pod template: which content its pods are meant to have."""

TIME_ANNOTATION: Final = f"{DOMAIN}/content-changed-at"
"""Beside it: when that was decided, RFC 3339, UTC."""

_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_LARGEST_REQUEST: Final = 64 * 1024
_CONFLICTS: Final = 5  # attempts; each loss means that somebody else has changed the workload
# scrypt: 64 MiB and some 0.2 s for each guess.
_COST: Final = 2**16
_BLOCK: Final = 8
_MEMORY: Final = 128 * 1024 * 1024


def content_hash(contents: str, workload_uid: str) -> str:
    """
    What the annotation holds for *contents*, a hash (hex) of the files: 32 hex digits.

    Whoever may read the workload must not be able to try out passwords: each guess costs a scrypt, for this workload
    alone, because its UID is the salt. Every replica comes to the same answer without talking to the others.
    """
    key = hashlib.scrypt(
        contents.encode(), salt=workload_uid.encode(), n=_COST, r=_BLOCK, p=1, maxmem=_MEMORY, dklen=16
    )
    return key.hex()


def restart(request: RolloutRequest) -> RolloutAnswer:
    """
    Restarts the workload unless it has this content already.

    Raises:
        NotifyNotFound, NotifyDenied: there is no such workload; it may not be read or changed.
        NotifyPostponed: it was restarted less than `min_interval` ago. `retry_after` says for how long.
        NotifyTimeout, NotifyFailed: the API server does not answer, or has other objections.
    """
    workload = _Workload(request)
    for _ in range(_CONFLICTS):
        found = workload.read()
        annotations = _annotations(found)
        wanted = content_hash(request.contents, found.metadata.uid)
        if annotations.get(HASH_ANNOTATION) == wanted:
            return RolloutAnswer(result="current")
        _refuse_too_soon(request, annotations)
        if workload.annotate(wanted, version=found.metadata.resource_version):
            return RolloutAnswer(result="restarted")
    raise NotifyFailed(f"{_named(request)} is changed by others all the time", retry_after=5.0)


def _refuse_too_soon(request: RolloutRequest, annotations: Mapping[str, str]) -> None:
    try:
        changed_at = datetime.fromisoformat(annotations[TIME_ANNOTATION])
        since = (datetime.now(UTC) - changed_at).total_seconds()
    except (KeyError, ValueError, TypeError):
        return  # not there, or not by us
    left = request.min_interval - since
    # A time far ahead of our clock comes from a wrong one: it must not hold up restarts until it is reached.
    if 0 < left <= 2 * request.min_interval:
        raise NotifyPostponed(f"{_named(request)} was restarted a moment ago", retry_after=left)


class _Workload:
    """The workload in its cluster, each failure as an error of ours."""

    def __init__(self, request: RolloutRequest) -> None:
        import kubernetes  # late: 65 MB, and the reason for this process
        import urllib3

        self._request = request
        self._api_error = kubernetes.client.ApiException
        self._connection_errors = (urllib3.exceptions.HTTPError, OSError)
        configuration, namespace = _configuration(kubernetes)
        configuration.retries = False  # the sidecar has its own
        self._namespace = request.namespace or namespace
        self._apps = kubernetes.client.AppsV1Api(kubernetes.client.ApiClient(configuration))

    def read(self) -> Any:
        return self._call("read", "get")

    def annotate(self, content: str, *, version: str) -> bool:
        """Whether the annotations were set: not if the workload is not *version* any more."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        annotations = {HASH_ANNOTATION: content, TIME_ANNOTATION: now}
        patch = {
            "metadata": {"resourceVersion": version},
            "spec": {"template": {"metadata": {"annotations": annotations}}},
        }
        return self._call("patch", "patch", patch) is not None

    def _call(self, method: str, verb: str, *body: object) -> Any:
        """The API's answer; None for a conflict."""
        names = {"deployment": "deployment", "statefulset": "stateful_set", "daemonset": "daemon_set"}
        call = getattr(self._apps, f"{method}_namespaced_{names[self._request.workload]}")
        seconds = max(self._request.timeout / 3, 1.0)
        try:
            return call(self._request.resource, self._namespace, *body, _request_timeout=(seconds, seconds))
        except self._api_error as error:
            if error.status == 409:
                return None
            raise self._refusal(error.status, verb, error.headers or {}) from None
        except self._connection_errors as error:
            raise _no_connection(error) from None

    def _refusal(self, status: int, verb: str, headers: Mapping[str, str]) -> NotifyError:
        named = f"{_named(self._request)} in namespace {self._namespace}"
        if status == 401:
            return NotifyDenied("the API server does not know us", hint="is the pod's service account token mounted?")
        if status == 403:
            hint = f"the pod's service account needs get and patch on {self._request.workload}s of the group apps there"
            return NotifyDenied(f"{named}: the verb {verb} is not allowed", hint=hint)
        if status == 404:
            return NotifyNotFound(f"{named} does not exist", hint="correct rollout or namespace")
        after = headers.get("Retry-After", "")
        return NotifyFailed(
            f"{named}: the API server answered with status {status}",
            retry_after=float(after) if after.isascii() and after.isdigit() and len(after) < 6 else None,
        )


def _no_connection(error: BaseException) -> NotifyError:
    """Only what kind of failure: the texts of these errors hold addresses, and what a server sent."""
    import urllib3  # late: comes with kubernetes

    slow = isinstance(error, (urllib3.exceptions.TimeoutError, TimeoutError))
    if slow and not isinstance(error, urllib3.exceptions.NewConnectionError):  # refused; a time-out by its class only
        return NotifyTimeout("the API server did not answer in time")
    if isinstance(error, urllib3.exceptions.SSLError):
        return NotifyFailed("the API server's certificate does not hold, or it speaks no TLS")
    return NotifyFailed("the API server cannot be reached")


def _configuration(kubernetes: Any) -> tuple[Any, str]:
    """How to reach the cluster, and the namespace that is ours: as a pod has it, or else as KUBECONFIG says."""
    configuration = kubernetes.client.Configuration()
    errors = (kubernetes.config.ConfigException, OSError, ValueError, KeyError, TypeError)
    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            kubernetes.config.load_incluster_config(client_configuration=configuration)
            return configuration, _NAMESPACE_FILE.read_text("ascii").strip()
        kubernetes.config.load_kube_config(client_configuration=configuration)
        _, context = kubernetes.config.list_kube_config_contexts()
        return configuration, context["context"].get("namespace") or "default"
    except errors:
        raise NotifyFailed(
            "there is no way to a cluster", hint="in a pod: mount its service account token; elsewhere: set KUBECONFIG"
        ) from None


def _annotations(found: Any) -> Mapping[str, str]:
    metadata = found.spec.template.metadata
    return (metadata.annotations if metadata else None) or {}


def _named(request: RolloutRequest) -> str:
    return f"{request.workload} {request.resource}"


def _answer(descriptor: int) -> RolloutAnswer:
    with os.fdopen(descriptor, "rb") as pipe:
        request = msgspec.json.decode(pipe.read(_LARGEST_REQUEST), type=RolloutRequest)
    try:
        import kubernetes  # noqa: F401  # late: an optional extra
    except ImportError:
        return RolloutAnswer(
            result="failed",
            code=MISSING_EXTRA,
            message="a rollout needs the Python package kubernetes",
            hint="install kube-config-injector[kube]",
        )
    try:
        return restart(request)
    except NotifyError as error:
        return RolloutAnswer(
            result="postponed" if isinstance(error, NotifyPostponed) else "failed",
            code=error.code,
            message=error.message,
            hint=error.hint,
            retry_after=error.retry_after,
        )


def main(arguments: list[str]) -> int:
    """Reads the request, prints the answer; 0 also for an answer that says `failed`."""
    answer = _answer(int(arguments[0]))
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
