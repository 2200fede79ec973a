"""What is told of a snapshot: lines for probes, JSON for `/status`, numbers for `/metrics`. Names and hashes only."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from msgspec import to_builtins

from injector.app.status import FileState
from injector.backends.plugin_status import PluginState
from injector.settings.options import camel
from injector.telemetry.metrics import FileNumbers, PluginNumbers, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.app.status import FileStatus, SidecarStatus
    from injector.telemetry.vitals import Vitals

_MOST_LINES: Final = 100
_LONGEST_REASON: Final = 300
_ERRORS: Final = frozenset({"error", "lastError", "settingsError"})


def late_workers(vitals: Vitals) -> list[str]:
    """One line for each worker that has not completed its work in time."""
    return [
        f"[-]{late.worker}: nothing completed for {late.seconds:.1f} s, {late.within:g} s are allowed"
        for late in vitals.overdue()
    ]


def workers(vitals: Vitals) -> list[str]:
    """One line for each worker, late or not."""
    late = {overdue.worker for overdue in vitals.overdue()}
    return [
        f"[{'-' if worker in late else '+'}]{worker}: completed something {age:.1f} s ago"
        for worker, age in sorted(vitals.ages().items())
    ]


def unready(status: SidecarStatus, clean: Callable[[str], str]) -> list[str]:
    """One line for each file that keeps the process from being ready, at most a hundred."""
    files = status.not_ready
    lines = [f"[-]{_line(file.template)}: {_reason(file, clean)}" for file in files[:_MOST_LINES]]
    if len(files) > _MOST_LINES:
        lines.append(f"[-]and {len(files) - _MOST_LINES} more")
    if not status.is_ready and not lines:
        lines.append("[-]not every required file has been rendered yet")
    return lines


def unstarted(status: SidecarStatus, clean: Callable[[str], str]) -> list[str]:
    """What keeps the process from being started: why each file is not there, as the kubelet shows it in its Events."""
    return ["not every required file has been rendered yet", *unready(status, clean)]


def readiness(status: SidecarStatus, clean: Callable[[str], str]) -> list[str]:
    """What keeps the process from being ready, and the other files, at most a hundred of each."""
    ready = [file for file in status.files if file.is_ready]
    lines = [f"[+]{_line(file.template)}: {file.state.value}" for file in ready[:_MOST_LINES]]
    if len(ready) > _MOST_LINES:
        lines.append(f"[+]and {len(ready) - _MOST_LINES} more")
    return unready(status, clean) + lines


def _reason(file: FileStatus, clean: Callable[[str], str]) -> str:
    if file.state is FileState.PENDING:
        reason = "not rendered yet"
    elif file.state is FileState.STALE:
        reason = "stale for longer than maxStale"
    else:
        reason = "no good file"
    return f"{reason}: {_line(clean(file.error))}" if file.error else reason


def _line(text: str) -> str:
    # A name or a message from outside must not make lines of its own.
    shown = "".join(char if char.isprintable() else " " for char in text)
    return shown if len(shown) <= _LONGEST_REASON else shown[: _LONGEST_REASON - 1] + "\N{HORIZONTAL ELLIPSIS}"


def status_json(status: SidecarStatus, clean: Callable[[str], str]) -> bytes:
    """The whole snapshot as docs/output-format.md has it; error messages pass *clean*."""
    document: dict[str, Any] = {"schemaVersion": 1, "started": status.started, "ready": status.is_ready}
    document |= _camelled(to_builtins(status), clean)
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _camelled(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        named = {camel(key): item for key, item in value.items()}
        return {
            key: clean(item) if key in _ERRORS and isinstance(item, str) else _camelled(item, clean)
            for key, item in named.items()
        }
    if isinstance(value, (list, tuple)):
        return [_camelled(item, clean) for item in value]
    return value


def metrics(status: SidecarStatus | None, vitals: Vitals) -> Snapshot:
    """The numbers of this moment; without a *status* those of the workers only."""
    now = time.time()
    heartbeats = {worker: now - age for worker, age in vitals.ages().items()}
    if status is None:
        return Snapshot(heartbeats=heartbeats)
    files = tuple(
        FileNumbers(
            file.template,
            stale=file.state in (FileState.STALE, FileState.FAILED),
            last_success=file.rendered_at,
            value_age=max((token.age for token in file.tokens if token.age is not None), default=None),
        )
        for file in status.files
        if file.state is not FileState.REMOVED
    )
    plugins = tuple(
        PluginNumbers(plugin.name, up=plugin.state is PluginState.RUNNING, restarts=max(0, plugin.starts - 1))
        for plugin in status.plugins
    )
    return Snapshot(ready=status.is_ready, files=files, plugins=plugins, heartbeats=heartbeats)
