"""
What is done when files changed: the notifications of the settings, parsed and checked.

Pure values; `notify` carries them out. Times are in seconds.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct, structs

from injector.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Action(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """
    `name` is unique among the actions of the settings; empty until `numbered` gives one. `match` says which templates'
    changes count, as `files[].match` does; empty means all.
    """

    name: str = ""
    match: str = ""

    def applies_to(self, template: str) -> bool:
        """Whether a change of the output of *template* is told."""
        return not self.match or PurePosixPath(template).match(self.match)


class SignalAction(_Action, frozen=True, kw_only=True, tag_field="action", tag="signal"):
    """
    Sends signal number `signal`. Exactly one of these says to whom: `process`, every process of that name that is
    neither we nor a descendant of ours; `pid_file`, a file with a PID, read each time; `pid`, just that one.
    """

    kind: ClassVar[str] = "signal"

    signal: int
    process: str = ""
    pid_file: Path | None = None
    pid: int | None = None

    @property
    def signal_name(self) -> str:
        """`SIGHUP`, or `signal 40` for one that has no name."""
        import signal as signals  # late: start-up

        try:
            return signals.Signals(self.signal).name
        except ValueError:
            return f"signal {self.signal}"


class ExecAction(_Action, frozen=True, kw_only=True, tag_field="action", tag="exec"):
    """Runs `command` (program and arguments, no shell) for `timeout` seconds at most."""

    kind: ClassVar[str] = "exec"

    command: tuple[str, ...]
    timeout: float = 30.0


class HttpAction(_Action, frozen=True, kw_only=True, tag_field="action", tag="http"):
    """
    Sends one request without a body. `url` is `http://…`, `https://…` or `unix:/path/to.sock:/target`, and may hold
    `user:password@`. `expect` are the statuses that mean success; empty means 200 to 299. `headers` may hold secrets.
    `ca_file` replaces the system's certification authorities.
    """

    kind: ClassVar[str] = "http"

    url: str
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    expect: tuple[int, ...] = ()
    timeout: float = 10.0
    ca_file: Path | None = None

    def __repr__(self) -> str:
        return f"HttpAction(name={self.name!r})"  # the address and the headers may hold secrets


class RolloutAction(_Action, frozen=True, kw_only=True, tag_field="action", tag="rollout"):
    """
    Restarts the pods of a workload: `workload` is `deployment`, `statefulset` or `daemonset`, `resource` its name.

    `namespace` is the pod's own when empty. One workload is not restarted twice within `min_interval`, whoever asks.
    """

    kind: ClassVar[str] = "rollout"

    workload: str
    resource: str
    namespace: str = ""
    min_interval: float = 60.0
    timeout: float = 60.0


Action = SignalAction | ExecAction | HttpAction | RolloutAction


def numbered(actions: Iterable[Action]) -> tuple[Action, ...]:
    """*actions* with a name each: those without are called after their kind and their place in it, `exec-2`."""
    given = tuple(actions)
    taken = {action.name for action in given}
    counts: dict[str, int] = {}
    named: list[Action] = []
    for action in given:
        number = counts[action.kind] = counts.get(action.kind, 0) + 1
        if not action.name:
            while f"{action.kind}-{number}" in taken:
                number += 1
            action = structs.replace(action, name=f"{action.kind}-{number}")
            taken.add(action.name)
        named.append(action)
    return tuple(named)


def conflicts(actions: Iterable[Action]) -> tuple[SettingsError, ...]:
    """What is wrong with *actions* beside each other: names that are there twice, and rollouts of one workload."""
    names: set[str] = set()
    workloads: set[tuple[str, str, str]] = set()
    problems: list[SettingsError] = []
    for action in actions:
        if action.name in names:
            problems.append(SettingsError(f"two notifications are called {action.name}", hint="names are unique"))
        names.add(action.name)
        if isinstance(action, RolloutAction):
            workload = (action.namespace, action.workload, action.resource)
            if workload in workloads:
                # Each would find the other's hash at the workload, and restart it for that.
                hint = "make one of them, and say by its match which templates count"
                named = f"{action.workload}/{action.resource}"
                problems.append(SettingsError(f"two notifications roll out {named}", hint=hint))
            workloads.add(workload)
    return tuple(problems)
