"""
The JSON Schema (draft 2020-12) of a settings file, for editors and for pipelines.

It is made from the same table that the reader uses (`options`). It says less than the reader, never more: what it
refuses is an error, and what it lets pass may still be one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from injector.settings import action_kinds, kinds
from injector.settings.options import OPTIONS, OVERRIDES, camel
from injector.settings.schema import API_VERSION, KIND, PluginSettings, Settings

if TYPE_CHECKING:
    from injector.settings.kinds import Kind

_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


def json_schema() -> dict[str, Any]:
    """The schema, as plain JSON types."""
    top: dict[str, Any] = {"apiVersion": {"const": API_VERSION}, "kind": {"const": KIND}}
    plugins: dict[str, Any] = {
        "configuration": _by_name({"type": "object"}, "What a plugin is given at its start, by its name."),
        "autoMtlsFor": _by_name(_kind(kinds.AUTO_MTLS), "What goes before autoMtls, by the plugin's name."),
    }
    for option in OPTIONS:
        group, _, name = option.key.rpartition(".")
        told = {**_kind(option.kind), "description": _description(option.variable, option.kind)}
        default = _default(option.field)
        (plugins if group else top)[name] = {**told, **({"default": default} if default is not None else {})}
    top["notify"] = _notifications()
    overrides = {camel(name): _kind(kind) for name, kind in OVERRIDES.items()}
    top["plugins"] = _object(plugins, "How plugins are run.")
    top["files"] = {
        "description": "What is different for some templates; the later entry wins, field by field.",
        "type": ["array", "null"],
        "items": {**_object(overrides), "type": "object", "required": ["match"]},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of injector",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": top,
        "additionalProperties": False,
    }


def _notifications() -> dict[str, Any]:
    common = {name: _kind(kind) for name, kind in action_kinds.COMMON.items()}
    entries = []
    for action, fields in action_kinds.FIELDS.items():
        properties = {name: _kind(kind) for name, kind in fields.items()} | common
        if action == "http":
            properties["headers"] = _by_name(_kind(action_kinds.HEADER_VALUE), "Headers of the request.")
        entries.append({**_object(properties), "type": "object", "required": [action]})
    told = "Who is told that files changed, and how; variable INJECTOR_NOTIFY has a short form."
    return {"description": told, "type": ["array", "null"], "items": {"oneOf": entries}}


def _object(properties: dict[str, Any], description: str = "") -> dict[str, Any]:
    told = {"description": description} if description else {}
    return {**told, "type": ["object", "null"], "properties": properties, "additionalProperties": False}


def _by_name(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "type": ["object", "null"], "additionalProperties": schema}


def _kind(kind: Kind) -> dict[str, Any]:
    # YAML reads `off` as false and `30` as a number: what may be written without quotes has more than one type.
    types = sorted({_TYPES[tag] for tag in kind.tags} | {"null"})
    one: dict[str, Any] = {"type": types}
    if kind.choices:
        more = [False] if "boolean" in types else []
        one = {"enum": [*map(str, kind.choices), *more, None]}
    elif kind.pattern is not None:
        one["pattern"] = f"^(?:{kind.pattern})$"
    return one if kind.separator is None else {"type": ["array", "null"], "items": one}


def _description(variable: str, kind: Kind) -> str:
    each = "each is " if kind.separator else ""
    return f"{each}{kind.expects}. Variable: {variable}"


def _default(field: str) -> Any:
    """The default, where it is one that would be written so; durations, sizes and modes have units of their own."""
    group, _, name = field.rpartition(".")
    value = getattr(PluginSettings() if group else Settings(), name)
    return value if isinstance(value, (bool, str)) and value != "" else None
