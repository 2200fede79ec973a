"""The settings file that annotations of single templates become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from injector.settings.actions import ExecAction, HttpAction, RolloutAction, SignalAction
from injector.settings.schema import API_VERSION, KIND

if TYPE_CHECKING:
    from injector.settings.actions import Action
    from injector.webhook.wishes import Wishes


def generate(wishes: Wishes) -> str:
    """A settings file (JSON, which is YAML) with what *wishes* has for single templates, and all notifications."""
    document: dict[str, Any] = {"apiVersion": API_VERSION, "kind": KIND}
    files = []
    notify = [_entry(action, "") for action in wishes.actions]
    for override in wishes.overrides:
        wanted = {"mode": override.perms, "onMissing": override.on_missing}
        wanted = {key: text for key, text in wanted.items() if text is not None}
        if wanted:
            files.append({"match": override.match, **wanted})
        notify += [_entry(action, override.match) for action in override.actions]
    if files:
        document["files"] = files
    if notify:
        document["notify"] = notify
    return msgspec.json.encode(document).decode()


def _entry(action: Action, match: str) -> dict[str, Any]:
    entry: dict[str, Any]
    match action:
        case SignalAction():
            entry = {"signal": action.signal}
            if action.process:
                entry["process"] = action.process
            elif action.pid_file is not None:
                entry["pidFile"] = str(action.pid_file)
            else:
                entry["pid"] = action.pid
        case ExecAction():
            entry = {"exec": list(action.command)}
        case HttpAction():
            entry = {"http": action.url, "method": action.method}
        case RolloutAction():
            entry = {"rollout": f"{action.workload}/{action.resource}"}
    return entry | ({"match": match} if match else {})
