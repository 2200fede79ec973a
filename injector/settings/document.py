"""
Reads a settings file: YAML (or JSON, which is YAML too) to checked values, every problem with line and column.

The file's nodes are walked instead of loaded, since only nodes know their places, keep `0600` as it was written and
show a key that is there twice. Messages name keys, places and types, never a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from injector.errors import InjectorError, Place, SettingsError, SettingsNotFound, UnknownSetting
from injector.model.depth import first_too_deep
from injector.settings.kinds import AUTO_MTLS
from injector.settings.options import OPTIONS, OVERRIDES, camel
from injector.settings.schema import API_VERSION, KIND, FileOverride

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from yaml.events import Event
    from yaml.nodes import Node

    from injector.model.policy import AutoMtls
    from injector.settings.actions import Action
    from injector.settings.kinds import Kind

_LARGEST: Final = 1024 * 1024  # bytes; a settings file is written by hand
_DEEPEST: Final = 32
_TYPES: Final = {
    "str": "a text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
    "timestamp": "a date",
    "map": "a mapping",
    "seq": "a list",
}


class SettingsDocument(Struct):
    """What a settings file says: `values` by the field names of `options.OPTIONS`, `files`, and all its `problems`."""

    values: dict[str, Any] = field(default_factory=dict)
    files: tuple[FileOverride, ...] = ()
    problems: list[InjectorError] = field(default_factory=list)


def read_document(path: Path) -> SettingsDocument:
    """
    Reads and checks the settings file *path*; relative paths in it start at its directory.

    Problems of the content are in the answer. Raises SettingsNotFound or SettingsError when there is no content.
    """
    data = _read(path)
    document = SettingsDocument()
    root = compose(data, str(path))
    if root is None:
        raise SettingsError(f"{path} is empty", hint=_HEADER_HINT)
    _Walk(path, document).settings(root)
    return document


# Mappings by the names of plugins, in the file only. What stands below the first is the plugin's.
_CONFIGURATION: Final = "plugins.configuration"
_AUTO_MTLS_FOR: Final = "plugins.autoMtlsFor"
# A list of mappings here, lines elsewhere.
_NOTIFY: Final = "notify"

_HEADER_HINT: Final = f"a settings file starts with 'apiVersion: {API_VERSION}' and 'kind: {KIND}'"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise SettingsNotFound(
            f"the settings file {path} does not exist", hint="correct --config or INJECTOR_CONFIG"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name holds a NUL character"
        raise SettingsError(f"the settings file {path} cannot be read: {reason}") from None
    if len(data) > _LARGEST:
        raise SettingsError(f"the settings file {path} is larger than {_LARGEST} bytes", hint="is it the right file?")
    return data


def compose(data: bytes, name: str) -> Node | None:
    """
    The tree of nodes of one YAML document; None for an empty one.

    *name* is the file's for messages. Raises SettingsError, with its place, for what is no YAML or nested too deeply.
    """
    import yaml  # late: only when there is a settings file

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _refuse_depth(yaml.parse(data, Loader=loader), name)
        node: Node | None = yaml.compose(data, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name, mark.line + 1, mark.column + 1) if mark else None
        raise SettingsError("this is not valid YAML", hint=_YAML_HINT, place=place) from None
    except yaml.YAMLError as error:
        before = data[: getattr(error, "position", 0)]  # a byte or character that YAML does not allow
        place = Place(name, before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        raise SettingsError("this is not valid YAML: a forbidden character", hint=_YAML_HINT, place=place) from None
    return node


def _refuse_depth(events: Iterable[Event], name: str) -> None:
    event = first_too_deep(events, _DEEPEST)
    if event is not None:
        mark = event.start_mark
        place = Place(name, mark.line + 1, mark.column + 1) if mark else None
        raise SettingsError("this is nested too deeply", hint=_YAML_HINT, place=place)


_YAML_HINT: Final = "look for indentation, unclosed quotes and brackets; texts with ': ' or '#' need quotes"


class _Walk:
    """One walk over a document; what it meets goes into `document`."""

    def __init__(self, path: Path, document: SettingsDocument) -> None:
        self._path = path
        self._document = document

    def settings(self, root: Node) -> None:
        options = {option.key: option for option in OPTIONS}
        nested = {key.partition(".")[0] for key in options if "." in key}
        known = {"apiVersion", "kind", "files", *nested, *(key for key in options if "." not in key)}
        entries = self._mapping(root, "", known)
        self._header(root, entries)
        for key in nested & entries.keys():
            inner = {
                name.partition(".")[2]
                for name in (*options, _CONFIGURATION, _AUTO_MTLS_FOR)
                if name.startswith(key + ".")
            }
            for name, node in self._mapping(entries[key], key, inner).items():
                entries[f"{key}.{name}"] = node
        for key, option in options.items():
            if key == _NOTIFY and key in entries:
                self._document.values[_NOTIFY] = self._actions(entries[key])
            elif key in entries:
                self._value(entries[key], key, option.kind, _put(self._document.values, option.field))
        if _CONFIGURATION in entries:
            self._document.values[_CONFIGURATION] = self._configuration(entries[_CONFIGURATION])
        if _AUTO_MTLS_FOR in entries:
            self._document.values["plugins.auto_mtls_for"] = self._auto_mtls_for(entries[_AUTO_MTLS_FOR])
        if "files" in entries:
            self._document.files = tuple(self._overrides(entries["files"]))

    def _header(self, root: Node, entries: Mapping[str, Node]) -> None:
        for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
            node = entries.get(key)
            if node is None:
                self._problem(root, f"{key} is missing", hint=_HEADER_HINT)
            elif node.value != wanted:
                self._problem(node, f"{key} is not one that this version knows", hint=f"write '{key}: {wanted}'")

    def _overrides(self, node: Node) -> Iterable[FileOverride]:
        kinds = {camel(name): (name, kind) for name, kind in OVERRIDES.items()}
        for index, item in enumerate(self._items(node, "files")):
            where = f"files[{index}]"
            entries = self._mapping(item, where, kinds.keys())
            values: dict[str, Any] = {}
            for key, entry in entries.items():
                name, kind = kinds[key]
                self._value(entry, f"{where}.{key}", kind, _put(values, name))
            if "match" in values:
                yield FileOverride(**values)
            elif "match" not in entries:
                self._problem(item, f"{where} has no match", hint="say which templates it is for: match: '*.conf'")

    def _configuration(self, root: Node) -> dict[str, dict[str, Any]]:
        from injector.settings.freeform import FreeForm  # late: start-up; hardly any file has it

        free_form = FreeForm(self._problem)
        plugins = free_form.mapping(root, _CONFIGURATION)
        return {name.lower(): free_form.values(node, f"{_CONFIGURATION}.{name}") for name, node in plugins.items()}

    def _actions(self, root: Node) -> tuple[Action, ...]:
        from injector.settings.action_nodes import Nodes, read_actions  # late: start-up; a render's file has none

        return read_actions(Nodes(self._scalar, self._items, self._mapping, self._problem), root)

    def _auto_mtls_for(self, root: Node) -> dict[str, AutoMtls]:
        from injector.settings.freeform import FreeForm  # late: start-up; hardly any file has it

        modes: dict[str, AutoMtls] = {}
        for name, node in FreeForm(self._problem).mapping(root, _AUTO_MTLS_FOR).items():
            self._value(node, f"{_AUTO_MTLS_FOR}.{name}", AUTO_MTLS, _put(modes, name.lower()))
        return modes

    def _value(self, node: Node, key: str, kind: Kind, put: Callable[[Any], None]) -> None:
        if _type(node) == "null":
            return  # as in Kubernetes: nothing is the same as not set
        if kind.parse_list is not None and _type(node) == "seq":
            self._texts(node, key, kind, put)
            return
        if kind.separator is None:
            self._scalar(node, key, kind, put)
            return
        items: list[Any] = []
        for index, item in enumerate(self._items(node, key)):
            self._scalar(item, f"{key}[{index}]", kind, items.append)
        put(tuple(items))

    def _scalar(self, node: Node, key: str, kind: Kind, put: Callable[[Any], None]) -> None:
        type_ = _type(node)
        if type_ not in kind.tags:
            quotes = "put quotes around it" if "str" in kind.tags and type_ not in ("map", "seq") else None
            self._problem(node, f"{key}: expected {kind.expects}, got {_named(type_)}", hint=quotes)
            return
        try:
            value = kind.parse(node.value)
        except ValueError:
            self._problem(node, f"{key}: expected {kind.expects}")
            return
        put(self._path.parent / value if hasattr(value, "joinpath") else value)

    def _texts(self, node: Node, key: str, kind: Kind, put: Callable[[Any], None]) -> None:
        """A list that is one value. Numbers in it are texts, as they were written."""
        items = self._items(node, key)
        for index, item in enumerate(items):
            if _type(item) in ("map", "seq", "null"):
                self._problem(item, f"{key}[{index}]: expected a text, got {_named(_type(item))}")
                return
        assert kind.parse_list is not None
        try:
            value = kind.parse_list([item.value for item in items])
        except ValueError:
            self._problem(node, f"{key}: expected {kind.expects}")
            return
        put(value)

    def _items(self, node: Node, key: str) -> list[Node]:
        if _type(node) == "null":
            return []
        if _type(node) != "seq":
            self._problem(node, f"{key}: expected a list, got {_named(_type(node))}")
            return []
        return list(node.value)

    def _mapping(self, node: Node, where: str, known: Iterable[str]) -> dict[str, Node]:
        """The entries of a mapping by key; those that are unknown or there twice are problems and left out."""
        if _type(node) != "map":
            if not where or _type(node) != "null":
                self._problem(node, f"{where or 'settings'}: expected a mapping, got {_named(_type(node))}")
            return {}
        entries: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node.value, str) else ""
            if key in lines:
                self._problem(key_node, f"{_shown(where, key)} is there twice, first on line {lines[key]}")
                continue
            lines[key] = key_node.start_mark.line + 1
            if key in known:
                entries[key] = value
            else:
                hint = suggestion(key, known)
                self._problem(key_node, f"{_shown(where, key)} is not a setting", hint=hint, kind=UnknownSetting)
        return entries

    def _problem(
        self, node: Node, message: str, *, hint: str | None = None, kind: type[SettingsError] = SettingsError
    ) -> None:
        mark = node.start_mark
        place = Place(str(self._path), mark.line + 1, mark.column + 1)
        self._document.problems.append(kind(message, hint=hint, place=place))


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """`did you mean …?` for a name that comes near one of *known*, whatever its case and dashes, or None."""
    import difflib  # late: only for a name that is wrong

    plain = {_plain(candidate): candidate for candidate in known}
    near = difflib.get_close_matches(_plain(name[:100]), plain, n=1, cutoff=0.6)
    return f"did you mean {plain[near[0]]}?" if near else None


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _put(values: dict[str, Any], name: str) -> Callable[[Any], None]:
    return lambda value: values.__setitem__(name, value)


def _shown(where: str, key: str) -> str:
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in key[:60]) or "this key"
    return f"{where}.{shown}" if where else shown


def _type(node: Node) -> str:
    """The short name of a node's YAML type, `!name` for one that YAML does not know."""
    tag = str(node.tag)
    return tag.removeprefix("tag:yaml.org,2002:")


def _named(type_: str) -> str:
    return _TYPES.get(type_, "a value of another type")
