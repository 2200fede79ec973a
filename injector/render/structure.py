"""
A file of a known format as a tree, so that two of them can be compared by what a reader finds in them.

The trees are built from what the formats' parsers read (`outline` of each module); comments are not in them. Where a
file can hold a key twice, both are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from injector.model.policy import FileFormat
from injector.render.formats.table import format_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from injector.render.formats.layout import Item


class Leaf(Struct, frozen=True):
    """A scalar: `text`, or what is no text in a format that tells the two apart (`kind`: text, plain, alias, …)."""

    kind: str
    text: str


class Branch(Struct, frozen=True):
    """
    An object, list, section or element. `names` are what its members are called, and None stands for a member that
    has its place in a list instead, or a key that is no text. `note` is an anchor, a tag or the like.
    """

    kind: str
    names: tuple[str | None, ...]
    members: tuple[Node, ...]
    note: str = ""


Node: TypeAlias = "Leaf | Branch"

LIST = "list"
OBJECT = "object"
ELEMENT = "element"
DOCUMENTS = "documents"


def structure(text: str, file_format: FileFormat) -> Node | None:
    """
    The tree of *text*; None for formats that have no names for their values (plain text, shell).

    Raises Misfit when a reader of the format cannot read the text, RecursionError when it is nested too deeply.
    """
    build = _BUILDERS.get(file_format)
    return None if build is None else build(text)


def _json(text: str) -> Node:
    return _nested(iter(format_module(FileFormat.JSON).outline(text)))


def _toml(text: str) -> Node:
    return _nested(iter(format_module(FileFormat.TOML).outline(text)))


def _nested(items: Iterator[Item]) -> Node:
    """The next value: objects and tables hold a key before each of their values."""
    item = next(items)
    if item[0] not in {"object", "table", "list"}:
        return Leaf(item[0], item[1])
    names: list[str | None] = []
    members: list[Node] = []
    is_list = item[0] == "list"
    while (inner := next(items))[0] != "end":
        names.append(None if is_list else inner[1])
        members.append(_nested(_before(inner, items) if is_list else items))
    return Branch(LIST if is_list else OBJECT, tuple(names), tuple(members))


def _before(item: Item, items: Iterator[Item]) -> Iterator[Item]:
    yield item
    yield from items


def _yaml(text: str) -> Node:
    items = iter(format_module(FileFormat.YAML).outline(text))
    documents = [_yaml_node(next(items), items) for _ in items]
    return documents[0] if len(documents) == 1 else Branch(DOCUMENTS, (None,) * len(documents), tuple(documents))


def _yaml_node(item: Item, items: Iterator[Item]) -> Node:
    kind = item[0]
    if kind not in {"map", "list"}:
        return Leaf(kind, item[1] if item[2:] in {(), ("", "")} else "\0".join(item[1:]))
    names: list[str | None] = []
    members: list[Node] = []
    while (inner := next(items))[0] != "end":
        member = _yaml_node(inner, items)
        if kind == "map":
            names.append(member.text if isinstance(member, Leaf) and member.kind != "alias" else None)
            member = _yaml_node(next(items), items)
        else:
            names.append(None)
        members.append(member)
    return Branch(OBJECT if kind == "map" else LIST, tuple(names), tuple(members), "\0".join(item[1:]).strip("\0"))


def _named(file_format: FileFormat) -> Callable[[str], Node]:
    def build(text: str) -> Node:
        return _entries([(item[0], item[1:]) for item in format_module(file_format).outline(text)[:-1]])

    return build


def _read_by(reader: str) -> Callable[[str], Node]:
    def build(text: str) -> Node:
        from injector.render.formats import env_readers  # late: start-up
        from injector.render.formats.layout import Misfit

        entries = getattr(env_readers, reader)(text)
        if entries is None:
            raise Misfit(0, "this cannot be read")
        return _entries([(name, (value.replace("\0", ""),)) for name, value in entries])

    return build


def _entries(entries: list[tuple[str, tuple[str, ...]]]) -> Branch:
    members = tuple(Leaf("text", value[0]) if value else Leaf("none", "") for _, value in entries)
    return Branch(OBJECT, tuple(name for name, _ in entries), members)


def _ini(text: str) -> Node:
    sections: list[tuple[str, list[tuple[str, tuple[str, ...]]]]] = []
    for kind, *rest in format_module(FileFormat.INI).outline(text)[1:]:
        if kind == "section":
            sections.append(("" if rest[0] == "\ue000" else rest[0], []))
        else:
            sections[-1][1].append((rest[0], () if rest[1] == "\0" else (rest[1],)))
    return Branch(OBJECT, tuple(name for name, _ in sections), tuple(_entries(options) for _, options in sections))


def _xml(text: str) -> Node:
    names, members = _xml_content(iter(format_module(FileFormat.XML).outline(text)))
    return Branch(ELEMENT, names, members)


def _xml_content(items: Iterator[Item]) -> tuple[tuple[str | None, ...], tuple[Node, ...]]:
    """Attributes are called `@name`, texts `text()`, instructions `?target`. Blank text between elements is none."""
    names: list[str | None] = []
    members: list[Node] = []
    for kind, *rest in items:
        if kind == "end":
            break
        match kind:
            case "start":
                attributes = [
                    (f"@{name}", Leaf("text", value)) for name, value in zip(rest[1::2], rest[2::2], strict=True)
                ]
                inner_names, inner = _xml_content(items)
                names.append(rest[0])
                members.append(
                    Branch(
                        ELEMENT,
                        (*(name for name, _ in attributes), *inner_names),
                        (*(leaf for _, leaf in attributes), *inner),
                    )
                )
            case "run" if rest[0].strip():
                names.append("text()")
                members.append(Leaf("text", rest[0]))
            case "instruction":
                names.append(f"?{rest[0]}")
                members.append(Leaf("text", rest[1]))
            case "doctype":
                names.append("!DOCTYPE")
                members.append(Leaf("text", "\0".join(rest)))
            case _:  # comments, and blanks between elements
                pass
    return tuple(names), tuple(members)


_BUILDERS: dict[FileFormat, Callable[[str], Node]] = {
    FileFormat.JSON: _json,
    FileFormat.YAML: _yaml,
    FileFormat.TOML: _toml,
    FileFormat.PROPERTIES: _named(FileFormat.PROPERTIES),
    FileFormat.DOTENV: _read_by("python_dotenv"),
    FileFormat.DOCKER_ENV: _named(FileFormat.DOCKER_ENV),
    FileFormat.SYSTEMD_ENV: _read_by("systemd"),
    FileFormat.KUBELET_ENV: _read_by("kubelet"),
    FileFormat.INI: _ini,
    FileFormat.XML: _xml,
}
