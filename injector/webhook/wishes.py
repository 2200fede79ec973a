"""What a pod's annotations ask for: checked values, or a refusal that names the annotation and repeats no value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NoReturn

from msgspec import Struct

from injector.errors import AdmissionRefused
from injector.webhook import catalogue
from injector.webhook.catalogue import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from injector.settings.actions import Action
    from injector.settings.kinds import Kind

MOST_WARNINGS: Final = 16
"""That are shown; to find out what is meant is dear."""

_MOST_ACTIONS: Final = 64
_TEXTS: Final = frozenset({*catalogue.FLAGS, *catalogue.VARIABLES, *catalogue.LASTING_FLAGS})
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


class InlineTemplate(Struct, frozen=True):
    """A template that is the value of `annotation`; `path` is where it lies among the templates."""

    annotation: str
    path: str


class Override(Struct, frozen=True):
    """What is different for the templates that `match` (a pattern of the settings)."""

    match: str
    perms: str | None = None
    on_missing: str | None = None
    actions: tuple[Action, ...] = ()


class Wishes(Struct, frozen=True):
    """
    What the annotations say. `values` are the parsed ones of `catalogue.SHAPE`, by name; `flags` the checked texts of
    those that are flags or variables of ours; `notify` the actions as texts, `actions` the same parsed.
    """

    values: Mapping[str, Any]
    flags: Mapping[str, str]
    inline: tuple[InlineTemplate, ...] = ()
    overrides: tuple[Override, ...] = ()
    notify: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()
    warnings: tuple[str, ...] = ()

    def get(self, name: str, default: Any = None) -> Any:
        """The parsed value of the annotation *name*, or *default*."""
        return self.values.get(name, default)

    @property
    def renders(self) -> bool:
        """Whether there is anything to render, variables aside."""
        return bool(self.inline) or any(name in self.values for name in _SOURCES)


_SOURCES: Final = ("templates", "template-path", "config", "settings")


def refuse(annotation: str, reason: str, *, hint: str | None = None) -> NoReturn:
    """Raises AdmissionRefused about *annotation* (without the domain)."""
    raise AdmissionRefused(f"annotation {PREFIX}{_printable(annotation)}: {reason}", hint=hint)


def _printable(name: str) -> str:
    # The API server lets letters, digits, '.', '_' and '-' through; others may send us anything.
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in name[:80])


def read(annotations: Mapping[str, str]) -> Wishes:
    """
    The wishes in *annotations*, those of other domains passed over.

    Raises AdmissionRefused for a value that is none of its kind, and for wishes that contradict each other.
    """
    values: dict[str, Any] = {}
    flags: dict[str, str] = {}
    of_templates: dict[str, dict[str, str]] = {}
    warnings: list[str] = []
    for key, text in annotations.items():
        if not key.startswith(PREFIX):
            continue
        name = key[len(PREFIX) :]
        family = catalogue.family_of(name)
        if family:
            of_templates.setdefault(name[len(family) :], {})[family] = text
        elif name in _TEXTS:
            flags[name] = _flag(name, text)
        elif name in catalogue.SHAPE and name != "notify":
            values[name] = _parse(name, catalogue.SHAPE[name], text)
        elif name != "notify" and not catalogue.is_written_by_us(name) and len(warnings) < MOST_WARNINGS:
            warnings.append(_unknown(name))
    notify = _lines("notify", annotations.get(f"{PREFIX}notify", ""))
    inline, overrides = _templates(of_templates)
    wishes = Wishes(
        values=values,
        flags=flags,
        inline=inline,
        overrides=overrides,
        notify=notify,
        actions=tuple(_parse("notify", catalogue.SHAPE["notify"], line) for line in notify),
        warnings=tuple(warnings),
    )
    _refuse_contradictions(wishes)
    return wishes


def _parse(name: str, kind: Kind, text: str) -> Any:
    if "\0" in text:  # neither an argument nor a path can hold it
        refuse(name, "it holds a NUL character")
    try:
        text.encode()  # a lone surrogate cannot be passed on
        return kind.parse(text)
    except ValueError:
        refuse(name, f"expected {kind.expects}")


def _flag(name: str, text: str) -> str:
    """The text, which is handed on as it is when it means something."""
    _parse(name, catalogue.PLAIN[name], text)
    return text


def _lines(name: str, text: str) -> tuple[str, ...]:
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(lines) > _MOST_ACTIONS:
        refuse(name, f"more than {_MOST_ACTIONS} actions")
    return lines


def _unknown(name: str) -> str:
    near = catalogue.nearest(name)
    return f"annotation {PREFIX}{_printable(name)} is unknown" + (f": did you mean {PREFIX}{near}?" if near else "")


def _templates(given: Mapping[str, Mapping[str, str]]) -> tuple[tuple[InlineTemplate, ...], tuple[Override, ...]]:
    inline: dict[str, InlineTemplate] = {}
    folders: dict[str, str] = {}
    overrides: list[Override] = []
    for name, texts in given.items():
        path = name
        if "file-" in texts:
            if "template-" not in texts:
                hint = f"it names the file of {PREFIX}template-{name}, which is missing"
                refuse(f"file-{name}", "there is no such template", hint=hint)
            path = _parse(f"file-{name}", catalogue.OF_ONE_TEMPLATE["file-"], texts["file-"])
        if "template-" in texts:
            _add_inline(inline, folders, name, path, texts["template-"])
        override = _override(name, path, texts)
        if override is not None:
            overrides.append(override)
    return tuple(inline.values()), tuple(overrides)


def _add_inline(inline: dict[str, InlineTemplate], folders: dict[str, str], name: str, path: str, text: str) -> None:
    """Adds a template to *inline*; *folders* has those that its path and others' make necessary, and for which."""
    _parse(f"template-{name}", catalogue.OF_ONE_TEMPLATE["template-"], text)
    if not _NAME.fullmatch(name):
        refuse(f"template-{name}", "expected letters, digits, '.', '_' and '-' behind template-")
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts))]
    other = folders.get(path) or next((each for each in (path, *above) if each in inline), None)
    if other is not None:
        refuse(f"template-{name}", f"its file is in the way of another template's, {other}")
    folders |= dict.fromkeys(above, path)
    inline[path] = InlineTemplate(f"{PREFIX}template-{name}", path)


def _override(name: str, path: str, texts: Mapping[str, str]) -> Override | None:
    families = catalogue.OF_ONE_TEMPLATE
    for family in ("perms-", "on-missing-"):
        if family in texts:
            _parse(f"{family}{name}", families[family], texts[family])
    lines = _lines(f"notify-{name}", texts.get("notify-", ""))
    actions = tuple(_parse(f"notify-{name}", families["notify-"], line) for line in lines)
    override = Override(path, texts.get("perms-"), texts.get("on-missing-"), actions)
    return None if override == Override(path) else override


def _refuse_contradictions(wishes: Wishes) -> None:
    if "config" in wishes.values and "settings" in wishes.values:
        refuse("settings", f"there is {PREFIX}config, too, and one settings file only", hint="leave one of them away")
    own = next((name for name in ("config", "settings") if name in wishes.values), None)
    if own and wishes.overrides:
        hint = f"write it into that file: files and notify, each with a match; or leave {PREFIX}{own} away"
        refuse(own, "there are annotations for single templates, too, and one settings file only", hint=hint)
    policies = {wishes.flags.get("on-missing"), *(override.on_missing for override in wishes.overrides)}
    if "default-value" in wishes.flags and "default" not in policies and not own:
        refuse("default-value", f"it needs {PREFIX}on-missing: default")
    same_user = wishes.get("run-as-same-user")
    if same_user and "run-as-user" in wishes.values:
        refuse("run-as-user", f"there is {PREFIX}run-as-same-user, too", hint="leave one of them away")


def refuse_what_needs_a_sidecar(wishes: Wishes) -> None:
    """Raises AdmissionRefused when *wishes* has something that a container which ends has no use for."""
    asked = [*wishes.flags, *wishes.values, *(["notify"] if wishes.notify else [])]
    asked += [f"notify-{override.match}" for override in wishes.overrides if override.actions]
    for name in asked:
        if name in catalogue.ONLY_LASTING or name.startswith("notify-"):
            hint = f"use {PREFIX}mode: native-sidecar, or leave it away"
            refuse(name, "nothing is there to do it later in mode init", hint=hint)
