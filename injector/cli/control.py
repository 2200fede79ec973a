"""How commands reach the control socket of a running sidecar."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from injector.cli import options
from injector.errors import AccessDenied, BackendUnavailable, NoAnswer, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


def ask(flags: Mapping[str, Any], path: str, *, method: str, timeout: str, output_format: str) -> dict[str, Any]:
    """
    The JSON that the sidecar answers.

    *flags* has `control` and `config`, *timeout* is a duration. Raises UsageError when there is no socket to ask,
    NoAnswer, AccessDenied, and BackendUnavailable for a refresh that failed as a whole.
    """
    from injector.app.serving import client  # late: start-up

    seconds = options.duration_of(timeout, "--timeout")
    settings, _ = options.load_settings(flags, output_format=output_format)
    if settings.control is None:
        raise UsageError("no control socket to ask", hint="give --control, INJECTOR_CONTROL or --config")
    token = client.read_token(settings.control)
    answer = client.ask(settings.control, path, method=method, token=token, timeout=seconds)
    if answer.status in (401, 403, 421):
        raise AccessDenied(f"{settings.control} refuses the token", hint="was the sidecar restarted? try again")
    try:
        document = json.loads(answer.body)
    except ValueError:
        document = None
    if not isinstance(document, dict) or answer.status not in (200, 202, 502):
        text = answer.body.decode("utf-8", "replace").strip()[:200]
        raise NoAnswer(f"{settings.control} answers {answer.status}: {text}")
    if answer.status == 502:
        raise BackendUnavailable(f"the refresh failed: {document.get('error')}", hint="injector status tells more")
    return document
