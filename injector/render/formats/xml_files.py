"""XML 1.0. A token is in text, in an attribute, a CDATA section, a comment or a processing instruction."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from injector.render.formats.layout import Layout, Misfit, Site, Spelled, Unfit, on_a_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.render.formats.layout import Item, Marked, Values

_PARTS = re.compile(
    r"""<!--(?P<comment>.*?)-->
    |<!\[CDATA\[(?P<cdata>.*?)\]\]>
    |<\?(?P<instruction>.*?)\?>
    |<!(?P<declaration>(?:[^\["'>]++|"[^"]*"|'[^']*')*+(?:\[.*?\]\s*)?)>
    |<(?P<tag>(?:[^"'<>]++|"[^"]*"|'[^']*')*+)>""",
    re.DOTALL | re.VERBOSE,
)
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_NO_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_IN_TEXT = re.compile(r"[&<>\r]")
_IN_ATTRIBUTE = re.compile(r"[&<>\"'\t\n\r]")
_IN_CDATA = re.compile(r"\r|\]\]>")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_ENCODING = re.compile(r"<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}


def lay_out(marked: Marked) -> Layout:
    """A site for every token; one in the name of an element or an attribute has none."""
    sites: list[Site] = []
    declared = _ENCODING.match(marked.text)
    ascii_only = declared is not None and declared[1].lower() not in {"utf-8", "utf8"}
    parts = _PARTS.finditer(marked.text)
    part = next(parts, None)
    quoted_in: re.Match[str] | None = None
    quoted: list[tuple[int, int]] = []
    for number, start in enumerate(marked.starts):
        while part is not None and part.end() <= start:
            part = next(parts, None)
        if part is None or part.start() > start:
            spell = _escaping(_IN_TEXT, number, ascii_only=ascii_only)
        elif part.lastgroup == "tag":
            if quoted_in is not part:
                quoted_in, quoted = part, [match.span() for match in _QUOTED.finditer(marked.text, *part.span())]
                quoted.reverse()
            while quoted and quoted[-1][1] <= start:
                quoted.pop()
            if not quoted or quoted[-1][0] > start:
                raise Misfit(start, "a token stands in the name of an element or an attribute")
            spell = _escaping(_IN_ATTRIBUTE, number, ascii_only=ascii_only)
        elif part.lastgroup == "declaration":
            raise Misfit(start, "a token stands in a document type declaration, where there is no value")
        else:
            spell = _SPELLERS[part.lastgroup or ""](number, ascii_only)
        sites.append(Site(start, start + marked.width, number, spell))
    return Layout(sites, outline(marked.text))


def outline(text: str) -> list[Item]:
    """Elements with their attributes, texts, instructions and comments (without what they say), in order."""
    from xml.parsers import expat  # late: start-up

    items: list[Item] = []
    parser = expat.ParserCreate()
    parser.ordered_attributes = True
    parser.buffer_text = True
    characters: list[str] = []

    def add(*item: str) -> None:
        if characters:
            items.append(("run", "".join(characters)))
            characters.clear()
        items.append(item)

    def refuse_entity(*_: object) -> None:
        raise Misfit(max(0, parser.CurrentByteIndex), "entities are declared here, and they are not looked into")

    parser.StartElementHandler = lambda name, attributes: add("start", name, *attributes)
    parser.EndElementHandler = lambda name: add("end", name)
    parser.CharacterDataHandler = characters.append
    parser.CommentHandler = lambda _: add("comment")
    parser.ProcessingInstructionHandler = lambda target, data: add("instruction", target, data)
    parser.StartDoctypeDeclHandler = lambda name, system, public, _: add("doctype", name, system or "", public or "")
    parser.EntityDeclHandler = refuse_entity
    try:
        parser.Parse(text, True)  # noqa: FBT003  # the parser's own signature
    except expat.ExpatError:
        before = text.encode()[: max(0, parser.ErrorByteIndex)]
        raise Misfit(len(before.decode("utf-8", "ignore")), "this is not well-formed XML") from None
    return items


def _escaped(match: re.Match[str]) -> str:
    return _NAMED.get(match[0]) or f"&#{ord(match[0])};"


def _characters(values: Values, number: int) -> str:
    value = values[number]
    if _NO_CHARACTER.search(value):
        raise Unfit(number, "XML 1.0 has no spelling for controls such as NUL", "write [encoding=base64]")
    return value


def _escaping(pattern: re.Pattern[str], number: int, *, ascii_only: bool) -> Callable[[Values], Spelled]:
    def spell(values: Values) -> Spelled:
        spelled = pattern.sub(_escaped, _characters(values, number))
        return Spelled(_BEYOND_ASCII.sub(_escaped, spelled) if ascii_only else spelled)

    return spell


def _cdata(number: int, ascii_only: bool) -> Callable[[Values], Spelled]:  # noqa: FBT001  # one of a table
    def outside(match: re.Match[str]) -> str:
        if match[0] == "]]>":
            return "]]]]><![CDATA[>"
        return f"]]>&#{ord(match[0])};<![CDATA["

    def spell(values: Values) -> Spelled:
        value = _characters(values, number)
        spelled = _IN_CDATA.sub(outside, value)
        if ascii_only:
            spelled = _BEYOND_ASCII.sub(outside, spelled)
        # What stands around the token may make an end of the section together with it.
        head = "]]><![CDATA[" if value[:1] in {"]", ">"} else ""
        return Spelled(head + spelled + ("]]><![CDATA[" if value.endswith("]") else ""))

    return spell


def _comment(number: int, ascii_only: bool) -> Callable[[Values], Spelled]:  # noqa: FBT001  # one of a table
    def spell(values: Values) -> Spelled:
        shown = on_a_line(values[number]).replace("--", "-\\x2d").replace("\t", " ")
        shown = _BEYOND_ASCII.sub(lambda match: f"\\u{ord(match[0]):x}", shown) if ascii_only else shown
        shown = "\\x2d" + shown[1:] if shown.startswith("-") else shown
        return Spelled(shown[:-1] + "\\x2d" if shown.endswith("-") else shown)

    return spell


def _instruction(number: int, ascii_only: bool) -> Callable[[Values], Spelled]:  # noqa: FBT001  # one of a table
    def spell(values: Values) -> Spelled:
        value = _characters(values, number)
        if "?>" in value or value.endswith("?") or "\r" in value or (ascii_only and _BEYOND_ASCII.search(value)):
            raise Unfit(number, "a processing instruction has no spelling for '?>' and carriage returns")
        return Spelled(value)

    return spell


_SPELLERS = {"cdata": _cdata, "comment": _comment, "instruction": _instruction}
