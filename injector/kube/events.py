"""
Kubernetes Events about our own pod (`events.k8s.io/v1`), with the rights to create and patch them and no other.

One Event for each different text: repetitions make its series longer, at most once in a while. A bucket of tokens
bounds what a bad hour costs the API server; what does not fit is counted and left out.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from injector.errors import ClusterError
from injector.settings.schema import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.kube.api import ClusterApi
    from injector.kube.identity import Pod

CONTROLLER: Final = f"{DOMAIN}/injector"
BURST: Final = 20
EVERY: Final = 20.0
"""Seconds for one more call, when BURST are used up."""

SERIES_EVERY: Final = 60.0
"""Seconds between two patches of one Event."""

_LONGEST_NOTE: Final = 1000  # bytes; the API server takes 1024
_LONGEST_NAME: Final = 253
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404
_MERGE_PATCH: Final = "application/merge-patch+json"


class News(Struct, frozen=True):
    """Something to tell: `kind` is `Normal` or `Warning`, `reason` in CamelCase, `note` for people, without values."""

    kind: str
    reason: str
    note: str


class _Told(Struct):
    count: int
    at: float  # monotonic: when the API server was told last


class EventWriter:
    """
    Writes Events of *pod*. Blocking, and for one thread at a time.

    *clock* gives monotonic seconds.
    """

    def __init__(self, api: ClusterApi, pod: Pod, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._pod = pod
        self._clock = clock
        self._told: dict[str, _Told] = {}
        self._tokens = float(BURST)
        self._filled_at = clock()
        self._instance = secrets.token_hex(4)  # an earlier process's Events are not ours to go on with
        self.left_out = 0

    def write(self, news: News) -> bool:
        """
        Tells *news*. False when it was left out: told lately, or too much was told.

        Raises ClusterError: the API server cannot be reached, or refused.
        """
        note = _bounded(news.note)
        name = self._name(news.reason, note)
        told = self._told.get(name)
        if told is not None:
            told.count += 1
            if self._clock() - told.at < SERIES_EVERY:
                return False
        if not self._take():
            self.left_out += 1
            return False
        if told is None:
            self._create(name, news, note)
        else:
            self._go_on(name, news, note, told)
        return True

    def _create(self, name: str, news: News, note: str) -> None:
        self._forget_old()
        try:
            self._api.call("POST", self._path(), self._event(name, news, note))
        except ClusterError as error:
            if error.status != _CONFLICT:
                raise
            # The answer to an earlier attempt was lost.
        self._told[name] = _Told(count=1, at=self._clock())

    def _go_on(self, name: str, news: News, note: str, told: _Told) -> None:
        series = {"count": max(told.count, 2), "lastObservedTime": _now()}
        try:
            self._api.call("PATCH", f"{self._path()}/{name}", {"series": series}, content_type=_MERGE_PATCH)
        except ClusterError as error:
            if error.status != _NOT_FOUND:  # an hour old: the API server has dropped it
                raise
            self._create(name, news, note)
        told.at = self._clock()

    def _event(self, name: str, news: News, note: str) -> dict[str, Any]:
        pod = self._pod
        regarding = {"apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name}
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": pod.namespace},
            "eventTime": _now(),
            "reportingController": CONTROLLER,
            "reportingInstance": pod.name[:128],
            "action": "Render",
            "reason": news.reason,
            "type": news.kind,
            "note": note,
            "regarding": {**regarding, "uid": pod.uid} if pod.uid else regarding,
        }

    def _path(self) -> str:
        return f"/apis/events.k8s.io/v1/namespaces/{self._pod.namespace}/events"

    def _name(self, reason: str, note: str) -> str:
        parts = (self._instance, self._pod.uid, reason, note)
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
        return f"{self._pod.name[: _LONGEST_NAME - 17]}.{digest}"

    def _take(self) -> bool:
        now = self._clock()
        self._tokens = min(BURST, self._tokens + (now - self._filled_at) / EVERY)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _forget_old(self) -> None:
        old = self._clock() - 3600.0  # so does the API server
        for name in [name for name, told in self._told.items() if told.at < old]:
            del self._told[name]


def _bounded(text: str) -> str:
    shown = "".join(char if char.isprintable() else " " for char in text)
    return shown.encode("utf-8", "replace")[:_LONGEST_NOTE].decode("utf-8", "ignore")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
