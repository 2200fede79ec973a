"""Merges flags, INJECTOR_* variables, the settings file and the defaults, in this order, into one `Settings`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from injector.errors import InjectorError, RunFailed, SettingsError, UnknownSetting
from injector.settings.actions import conflicts, numbered
from injector.settings.options import OPTIONS, OTHER_VARIABLES
from injector.settings.schema import LOCK_FILE_NAME, ConnectionSettings, FileOverride, PluginSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from injector.settings.kinds import Kind

# Kubernetes sets these in every pod for a Service that is called injector or injector-…: not ours, not wrong.
_SERVICE_LINK = (
    r"INJECTOR(?:_[A-Z0-9_]+)?_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


def load(
    *,
    path: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
    defaults: Mapping[str, object] | None = None,
) -> Settings:
    """
    The settings of this run.

    Args:
        path: the settings file, or None for none.
        environ: the process's environment. Lists are separated by the path separator (`INJECTOR_PLUGIN_PATH`), by
            commas (`INJECTOR_PASS_ENVIRONMENT`) or by line breaks (`INJECTOR_NOTIFY`). An empty variable counts as not
            set.
        flags: by the names of `options.OPTIONS`, e.g. `on_missing`, `plugin_path`; text as on the command line, or a
            bool, int, path or sequence of these. None and an empty sequence count as not given.
        defaults: what holds for this command when nobody says anything, by field; values as `Settings` has them.

    Raises:
        SettingsError: one of its leaves for one problem.
        RunFailed: several problems; they are reported together, those of the file first.
    """
    problems: list[InjectorError] = []
    values: dict[str, Any] = dict(defaults or {})
    files: tuple[FileOverride, ...] = ()
    if path is not None:
        from injector.settings.document import read_document  # late: start-up

        try:
            document = read_document(path)
        except SettingsError as error:
            problems.append(error)
        else:
            problems += document.problems
            values |= document.values
            files = document.files
        beside = path.parent / LOCK_FILE_NAME
        if os.path.lexists(beside):
            values.setdefault("plugins.lock_file", beside)
    values |= _from_environment(environ, problems)
    values |= _from_flags(flags, problems)
    values["notify"] = numbered(values.get("notify", ()))
    problems += conflicts(values["notify"])
    settings = _settings(values, files)
    if settings.plugins.min_port > settings.plugins.max_port:
        problems.append(SettingsError("plugins.minPort is above plugins.maxPort", hint="leave both away, or set both"))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise RunFailed(problems)
    return settings


def _settings(values: Mapping[str, Any], files: tuple[FileOverride, ...]) -> Settings:
    groups: dict[str, dict[str, Any]] = {"": {}, "plugins": {}, "connections": {}}
    for field, value in values.items():
        group, _, name = field.rpartition(".")
        groups[group][name] = value
    return Settings(
        **groups[""],
        plugins=PluginSettings(**groups["plugins"]),
        connections=ConnectionSettings(**groups["connections"]),
        files=files,
    )


def _from_environment(environ: Mapping[str, str], problems: list[InjectorError]) -> dict[str, Any]:
    options = {option.variable: option for option in OPTIONS}
    values: dict[str, Any] = {}
    for name in sorted(environ):
        if not name.startswith("INJECTOR_") or name in OTHER_VARIABLES or re.fullmatch(_SERVICE_LINK, name):
            continue
        if name not in options:
            from injector.settings.document import suggestion  # late: start-up

            hint = suggestion(name, [*options, *OTHER_VARIABLES])
            problems.append(UnknownSetting(f"the environment variable {name} is not a setting", hint=hint))
            continue
        kind, text = options[name].kind, environ[name]
        if text:
            items = [item for item in text.split(kind.separator) if item] if kind.separator else [text]
            _parse(name, kind, items, into=values, field=options[name].field, problems=problems)
    return values


def _from_flags(flags: Mapping[str, object], problems: list[InjectorError]) -> dict[str, Any]:
    options = {option.flag: option for option in OPTIONS}
    values: dict[str, Any] = {}
    for name, given in flags.items():
        if name not in options:
            raise TypeError(f"{name} is not a setting")
        texts = _texts(given)
        if texts:
            option = options[name]
            label = "--" + name.replace("_", "-")
            _parse(label, option.kind, texts, into=values, field=option.field, problems=problems)
    return values


def _texts(given: object) -> list[str]:
    if given is None:
        return []
    if isinstance(given, bool):
        return ["true" if given else "false"]
    if isinstance(given, (str, int, Path)):
        return [str(given)]
    if isinstance(given, Sequence):
        return [text for item in given for text in _texts(item)]
    raise TypeError(f"a flag is text, bool, int, a path or a sequence of these, not {type(given).__name__}")


def _parse(
    label: str, kind: Kind, texts: Iterable[str], *, into: dict[str, Any], field: str, problems: list[InjectorError]
) -> None:
    try:
        parsed = tuple(kind.parse(text) for text in texts)
    except ValueError:
        problems.append(SettingsError(f"{label}: expected {kind.expects}"))
        return
    into[field] = parsed if kind.separator else parsed[-1]
