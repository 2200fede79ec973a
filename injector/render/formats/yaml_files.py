"""YAML 1.1 and 1.2. A token is in a scalar of any style, in a key, or in a comment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from injector.render.formats import yaml_scalars as scalars
from injector.render.formats.json_values import SCALAR, string
from injector.render.formats.layout import Layout, Misfit, Site, Spelled, Unfit, comment_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from injector.render.formats.layout import Item, Marked, Values

_PROPERTIES = re.compile(r"(?:(?:[&!]\S*|#[^\n]*)\s*)*")
_COMMENT = re.compile(r"(?:^|(?<=\s))#")


class _Scalar(Struct, frozen=True):
    """A scalar of the template that has tokens: `text[start:end]`, without its anchor and tag."""

    start: int
    end: int
    style: str
    value: str
    item: Item
    in_flow: bool
    is_key: bool


def lay_out(marked: Marked) -> Layout:
    """A site for every scalar with tokens; where the style allows it, one for each of its tokens."""
    sites: list[Site] = []
    walk = _Walk()
    words = _Words(marked)
    for event in _events(marked.text):
        walk.take(event)
        if not hasattr(event, "style"):
            continue
        start, end = event.start_mark.index, event.end_mark.index
        if event.anchor is not None or event.tag is not None:
            properties = _PROPERTIES.match(marked.text, start, end)
            start = properties.end() if properties else start
        sites.extend(words.comments_before(start))
        if marked.has_words(event.value):
            first = words.number
            words.skip(end)
            style = event.style or ""
            scalar = _Scalar(start, end, style, event.value, walk.items[-1], walk.in_flow, walk.last_is_key)
            sites.extend(_sites(marked, scalar, first, words.number))
        words.passed = end
    sites.extend(words.comments_before(len(marked.text)))
    return Layout(sites, walk.items)


def outline(text: str) -> list[Item]:
    """Documents, collections, anchors, tags and scalars in order; scalars as text, or as plain where that is none."""
    walk = _Walk()
    for event in _events(text):
        walk.take(event)
    return walk.items


def _events(text: str) -> Iterator[Any]:
    import yaml  # late: start-up

    try:
        yield from yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        hint = "braces of another template language need quotes around them"
        raise Misfit(mark.index if mark else 0, "this is not YAML", hint) from None
    except yaml.YAMLError as error:
        before = text.encode()[: getattr(error, "position", 0)]
        raise Misfit(len(before.decode("utf-8", "ignore")), "this is not YAML: a forbidden character") from None


class _Walk:
    """What the events of a file say, as items; and where among them we are."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.last_is_key = False
        self._frames: list[tuple[bool, set[Item] | None]] = []  # in flow style, the keys of a mapping
        self._key_next = False
        self._pending: list[bool] = []

    @property
    def in_flow(self) -> bool:
        return bool(self._frames) and self._frames[-1][0]

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "ScalarEvent":
            tag = event.tag or ""
            plain = not event.style and not tag and scalars.is_no_text(event.value)
            self._node(("plain" if plain else "text", event.value, event.anchor or "", tag))
        elif kind == "AliasEvent":
            self._node(("alias", event.anchor))
        elif kind in {"MappingStartEvent", "SequenceStartEvent"}:
            is_map = kind[0] == "M"
            self._node(("map" if is_map else "list", event.anchor or "", event.tag or ""))
            self._pending.append(self._key_next)
            self._frames.append((self.in_flow or bool(event.flow_style), set() if is_map else None))
            self._key_next = is_map
        elif kind in {"MappingEndEvent", "SequenceEndEvent"}:
            _, keys = self._frames.pop()
            self.items.append(("end",) if keys is None else ("end", str(len(keys))))
            self._key_next = self._pending.pop()
        elif kind == "DocumentStartEvent":
            self.items.append(("document", str(event.version or ""), str(sorted((event.tags or {}).items()))))

    def _node(self, item: Item) -> None:
        self.items.append(item)
        keys = self._frames[-1][1] if self._frames else None
        self.last_is_key = self._key_next
        if keys is not None:
            if self._key_next:
                keys.add(item[:2])
            self._key_next = not self._key_next


class _Words:
    """The words of a template in order, and those among them that no scalar has."""

    def __init__(self, marked: Marked) -> None:
        self._marked = marked
        self.number = 0
        self.passed = 0
        self._comment_from = -1

    def skip(self, end: int) -> None:
        """Passes over the words before *end*, which are a scalar's."""
        while self.number < len(self._marked.starts) and self._marked.starts[self.number] < end:
            self.number += 1

    def comments_before(self, end: int) -> Iterator[Site]:
        """Sites for the words from here to *end*, which must be in comments."""
        text, starts = self._marked.text, self._marked.starts
        while self.number < len(starts) and starts[self.number] < end:
            start = starts[self.number]
            goes_on = self._comment_from >= 0 and text.find("\n", self._comment_from, start) < 0
            if not goes_on:
                begin = max(text.rfind("\n", 0, start) + 1, self.passed)
                if not _COMMENT.search(text, begin, start):
                    raise Misfit(start, "a token stands in an anchor, a tag or a directive, which are no values")
            self._comment_from = start
            yield comment_site(self._marked, self.number)
            self.number += 1


def _sites(marked: Marked, scalar: _Scalar, first: int, after: int) -> list[Site]:
    source = marked.text[scalar.start : scalar.end]
    if scalar.style == '"' and "\n" not in source:
        return [
            Site(marked.starts[number], marked.starts[number] + marked.width, number, _quoted(scalar, number))
            for number in range(first, after)
        ]
    return [Site(scalar.start, scalar.end, first, _whole(marked, scalar, source, first, after))]


def _quoted(scalar: _Scalar, number: int) -> Callable[[Values], Spelled]:
    def spell(values: Values) -> Spelled:
        spelled = string(values[number])[1:-1]
        _refuse_long_key(scalar, spelled, number)
        return Spelled(spelled)

    return spell


def _whole(marked: Marked, scalar: _Scalar, source: str, first: int, after: int) -> Callable[[Values], Spelled]:
    def spell(values: Values) -> Spelled:
        text = marked.fill(scalar.value, values)
        if scalar.style == "" and not scalar.is_key and marked.whole(scalar.value) is not None:
            spelled = scalars.flow(text)
            if spelled is not None and scalar.item[2:] == ("", ""):
                return Spelled(*spelled)
        written = _styled(marked, scalar, source, text, values[first:after], values)
        _refuse_long_key(scalar, written, first)
        stays_plain = scalar.style == "" and scalar.item[3] == "" and SCALAR.match(text) is not None
        return Spelled(written, (("plain" if stays_plain else "text", text, *scalar.item[2:]),))

    return spell


def _styled(marked: Marked, scalar: _Scalar, source: str, text: str, own: Values, values: Values) -> str:
    is_short = "\n" not in source
    match scalar.style:
        case "" if is_short:
            return scalars.plain(text, in_flow=scalar.in_flow)
        case "'" if is_short:
            return scalars.single_quoted(text)
        case "|":
            return scalars.literal(text, source, scalar.value)
        case ">" if all(map(scalars.is_calm, own)):
            return marked.fill(source, values)
        case ">":
            return scalars.folded_as_quoted(text, source)
        case _:
            return string(text)


def _refuse_long_key(scalar: _Scalar, spelled: str, number: int) -> None:
    if scalar.is_key and scalars.is_key_too_long(spelled):
        raise Unfit(number, "the value is too long for a key: YAML allows 1,024 characters")
