"""How commands reach the control socket of a running sidecar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from injector.cli import options
from injector.errors import UsageError

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
    return client.ask_control(settings.control, path, method=method, timeout=seconds)
