"""
What passes between a sidecar and the short-lived process that restarts a workload.

Neither side imports `kubernetes` for it. The request comes through a pipe, never by arguments or environment, which
others can read; the answer is one line of JSON on standard output.
"""

from __future__ import annotations

from msgspec import Struct

MODULE = "injector.kube.rollout"
"""What `python -m` runs; its only argument is the number of the descriptor that the request is read from."""

MISSING_EXTRA = "kubernetes-missing"
"""The `code` of an answer when the package `kubernetes` is not installed."""


class RolloutRequest(Struct, frozen=True):
    """
    `workload` is `deployment`, `statefulset` or `daemonset`, `resource` its name; without `namespace` it is our pod's.

    `contents` is a hash (hex) over all files that count; it is as sensitive as the files are guessable. `min_interval`
    and `timeout` in seconds.
    """

    workload: str
    resource: str
    namespace: str
    contents: str
    min_interval: float
    timeout: float


class RolloutAnswer(Struct, frozen=True):
    """
    `result` is `restarted`, `current` (the workload has this content already), `postponed` or `failed`.

    A failure has the `code` of an error of `injector.errors`, or MISSING_EXTRA, a `message` and maybe a `hint`.
    `retry_after` in seconds.
    """

    result: str
    code: str = ""
    message: str = ""
    hint: str | None = None
    retry_after: float | None = None
