"""Restarts a workload by a process of its own: the Kubernetes client costs memory that is given back with it."""

from __future__ import annotations

import hashlib
import os
import sys
from typing import TYPE_CHECKING

import msgspec

from injector.errors import NotifyDenied, NotifyError, NotifyFailed, NotifyNotFound, NotifyPostponed, NotifyTimeout
from injector.kube.messages import MODULE, RolloutAnswer, RolloutRequest
from injector.notify.commands import log_output, run_program
from injector.telemetry.logs import Level

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from injector.notify.carry_out import Changes
    from injector.settings.actions import RolloutAction
    from injector.telemetry.logs import Log

_ERRORS: dict[str, type[NotifyError]] = {
    error.code: error for error in (NotifyFailed, NotifyNotFound, NotifyDenied, NotifyTimeout, NotifyPostponed)
}


def fingerprint(digests: Iterable[tuple[str, str]]) -> str:
    """
    One hash (hex) over pairs of template and digest, whatever their order. As guessable as the files are: it stays
    between processes of ours.
    """
    whole = hashlib.sha256()
    for template, digest in sorted(digests):
        for part in (os.fsencode(template), digest.encode()):
            whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()


async def restart(
    action: RolloutAction, changes: Changes, *, environment: Mapping[str, str], log: Log
) -> RolloutAnswer:
    """
    Restarts the workload, unless it has been restarted for this very content.

    Raises NotifyError: NotifyPostponed when it was restarted too short a time ago, see `kube.rollout.restart` for the
    others; NotifyFailed also when the process did not answer.
    """
    request = RolloutRequest(
        workload=action.workload,
        resource=action.resource,
        namespace=action.namespace,
        contents=fingerprint(changes.digests),
        min_interval=action.min_interval,
        timeout=action.timeout,
    )
    reader, writer = os.pipe()
    try:
        os.write(writer, msgspec.json.encode(request))  # a few hundred bytes: fits the pipe
    finally:
        os.close(writer)
    try:
        argv = [sys.executable, "-P", "-m", MODULE, str(reader)]
        finished = await run_program(argv, environment=environment, seconds=action.timeout, pass_fds=(reader,))
    finally:
        os.close(reader)
    if finished.status is None:
        raise NotifyTimeout(f"the rollout of {action.workload} {action.resource} took longer than {action.timeout:g} s")
    try:
        answer = msgspec.json.decode(finished.stdout, type=RolloutAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        log_output(finished, log, Level.DEBUG, notification=action.name)
        raise NotifyFailed(f"the process for the rollout gave no answer: {finished.status}") from None
    if answer.result in {"failed", "postponed"}:
        raise _ERRORS.get(answer.code, NotifyFailed)(answer.message, hint=answer.hint, retry_after=answer.retry_after)
    log.info("rollout", notification=action.name, result=answer.result)
    return answer
