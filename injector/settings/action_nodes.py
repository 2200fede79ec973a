"""The list `notify` of a settings file: its nodes to actions, each problem at its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from injector.settings.action_kinds import COMMON, FIELDS, HEADER_VALUE, header_name
from injector.settings.actions import ExecAction, HttpAction, RolloutAction, SignalAction
from injector.settings.freeform import FreeForm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from yaml.nodes import Node

    from injector.settings.actions import Action
    from injector.settings.freeform import Report
    from injector.settings.kinds import Kind

_HEADERS: Final = "headers"
_TARGETS: Final = ("process", "pidFile", "pid")
_KINDS: Final = ", ".join(FIELDS)


class Nodes(Struct, frozen=True):
    """How nodes are read, and who takes problems: as the walk over the document does it."""

    scalar: Callable[[Node, str, Kind, Callable[[Any], None]], None]
    items: Callable[[Node, str], list[Node]]
    mapping: Callable[[Node, str, Iterable[str]], dict[str, Node]]
    problem: Report


def read_actions(nodes: Nodes, root: Node) -> tuple[Action, ...]:
    """The actions of the list *root*; one that has a problem is left out, and *nodes* is told."""
    reader = _Reader(nodes)
    found = [reader.action(node, f"notify[{index}]") for index, node in enumerate(nodes.items(root, "notify"))]
    return tuple(action for action in found if action is not None)


class _Reader:
    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def action(self, node: Node, where: str) -> Action | None:
        known = {key for fields in FIELDS.values() for key in fields} | {_HEADERS, *COMMON}
        entries = self._nodes.mapping(node, where, known)
        kinds = [kind for kind in FIELDS if kind in entries]
        if len(kinds) != 1:
            said = f"{' and '.join(kinds)} in one entry" if kinds else "does not say what to do"
            self._nodes.problem(node, f"{where}: {said}", hint=f"an entry has one of {_KINDS}")
            return None
        kind = kinds[0]
        fields = FIELDS[kind] | COMMON
        for key in entries.keys() - fields.keys() - ({_HEADERS} if kind == "http" else set()):
            self._nodes.problem(entries[key], f"{where}.{key} does not belong to {kind}")
            return None
        values = self._values(entries, where, fields)
        if values is None:
            return None
        if kind == "signal" and len(values.keys() & set(_TARGETS)) != 1:
            hint = f"write one of {', '.join(_TARGETS)}"
            self._nodes.problem(node, f"{where} does not say which process the signal is for", hint=hint)
            return None
        return _built(kind, values)

    def _values(self, entries: Mapping[str, Node], where: str, fields: Mapping[str, Kind]) -> dict[str, Any] | None:
        """The values of an entry by their keys; None when one has a problem."""
        values: dict[str, Any] = {}
        wrong = False
        for key, node in entries.items():
            found: list[Any] = []
            value: Any
            if key == _HEADERS:
                value = self._headers(node, f"{where}.{key}")
            elif key == "exec":
                value = self._command(node, f"{where}.{key}")
            elif _is_null(node) and key not in FIELDS:
                continue
            elif fields[key].separator is not None:
                items = self._nodes.items(node, f"{where}.{key}")
                for index, item in enumerate(items):
                    self._nodes.scalar(item, f"{where}.{key}[{index}]", fields[key], found.append)
                value = tuple(found) if len(items) == len(found) else None
            else:
                self._nodes.scalar(node, f"{where}.{key}", fields[key], found.append)
                value = found[0] if found else None
            wrong = wrong or value is None
            values[key] = value
        return None if wrong else values

    def _command(self, node: Node, where: str) -> tuple[str, ...] | None:
        if isinstance(node.value, str):
            hint = "write a list, [/bin/reload, --now]: no shell takes it apart"
            self._nodes.problem(node, f"{where}: expected a list", hint=hint)
            return None
        items = self._nodes.items(node, where)
        found: list[str] = []
        for index, item in enumerate(items):
            self._nodes.scalar(item, f"{where}[{index}]", FIELDS["exec"]["exec"], found.append)
        if len(found) == len(items) and not (found and found[0]):
            self._nodes.problem(node, f"{where} names no program")
        return tuple(found) if found and found[0] and len(found) == len(items) else None

    def _headers(self, root: Node, where: str) -> tuple[tuple[str, str], ...] | None:
        found: dict[str, tuple[str, str]] = {}
        entries = FreeForm(self._nodes.problem).mapping(root, where)
        for name, node in entries.items():
            try:
                header_name(name)
            except ValueError:
                self._nodes.problem(node, f"{where}: this is not the name of a header that can be set")
                continue
            value: list[str] = []
            self._nodes.scalar(node, f"{where}.{name}", HEADER_VALUE, value.append)
            if name.lower() in found:
                self._nodes.problem(node, f"{where}.{name} is there twice")
            elif value:
                found[name.lower()] = (name, value[0])
        return tuple(found.values()) if len(found) == len(entries) else None


def _is_null(node: Node) -> bool:
    return str(node.tag) == "tag:yaml.org,2002:null"


def _built(kind: str, values: dict[str, Any]) -> Action:
    general = {key: values[key] for key in ("name", "match", "timeout") if key in values}
    match kind:
        case "signal":
            target = {
                "process": values.get("process", ""),
                "pid_file": values.get("pidFile"),
                "pid": values.get("pid"),
            }
            return SignalAction(signal=values["signal"], **target, **general)
        case "exec":
            return ExecAction(command=values["exec"], **general)
        case "http":
            given = {"method": "method", "expect": "expect", "headers": "headers", "caFile": "ca_file"}
            more = {field: values[key] for key, field in given.items() if key in values}
            return HttpAction(url=values["http"], **more, **general)
        case _:
            workload, resource = values["rollout"]
            given = {"namespace": "namespace", "minInterval": "min_interval"}
            more = {field: values[key] for key, field in given.items() if key in values}
            return RolloutAction(workload=workload, resource=resource, **more, **general)
