"""The text between a token's brackets."""

from __future__ import annotations

import re

from msgspec import Struct

from injector.errors import MetadataInvalid

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OURS = frozenset({"optional", "default", "connection", "format", "encoding"})
_FORM = "metadata is [name=value,name=value]"


class Metadata(Struct, frozen=True):
    """
    A token's metadata, the injector's own names told apart from the plugin's.

    `passed_on` is what the plugin gets: the text as it was written, without the pairs that are ours.
    """

    passed_on: str = ""
    connection: str | None = None
    optional: bool = False
    default: str | None = None
    raw: bool = False
    encoding: str | None = None


def parse_metadata(text: str) -> Metadata:
    """
    Reads the text between the brackets; raises MetadataInvalid, without a place, when it is not name=value pairs.

    Names and the values of our own are trimmed, but for `default`, which is taken as it is written.
    """
    if _CONTROL.search(text):
        raise MetadataInvalid("the metadata holds a control character", hint="write it without tabs and the like")
    if not text.strip():
        raise MetadataInvalid("the metadata is empty", hint=f"{_FORM}; without any, leave the brackets out")
    ours: dict[str, str] = {}
    rest: list[str] = []
    seen: set[str] = set()
    for number, pair in enumerate(text.split(","), start=1):
        name, value = _split(number, pair)
        if name in seen:
            raise MetadataInvalid(f"the metadata name {name!r} is given twice", hint="keep one of them")
        seen.add(name)
        if name in _OURS:
            ours[name] = value
        else:
            rest.append(pair)
    if not ours:
        return Metadata(passed_on=text)
    return Metadata(
        # The blanks around a comma go with the pair that was taken out.
        passed_on=",".join(rest).strip(),
        connection=_connection(ours),
        optional=_one_of(ours, "optional", ("false", "true")) == "true",
        default=ours.get("default"),
        raw=_one_of(ours, "format", ("raw",)) == "raw",
        encoding=_one_of(ours, "encoding", ("utf8", "base64", "hex")),
    )


def _split(number: int, pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    name = name.strip()
    if not equals:
        raise MetadataInvalid(f"part {number} of the metadata has no '='", hint=_FORM)
    if not name:
        raise MetadataInvalid(f"part {number} of the metadata has no name before its '='", hint=_FORM)
    return name, value


def _connection(ours: dict[str, str]) -> str | None:
    name = ours.get("connection")
    if name is None:
        return None
    if not name.strip():
        raise MetadataInvalid(
            "'connection' in the metadata is empty", hint="name a connection, or leave it out for the default one"
        )
    return name.strip()


def _one_of(ours: dict[str, str], name: str, allowed: tuple[str, ...]) -> str | None:
    value = ours.get(name)
    if value is not None and value.strip() not in allowed:
        raise MetadataInvalid(
            f"{name!r} in the metadata has a value that it cannot have",
            hint=f"write {' or '.join(f'{name}={each}' for each in allowed)}",
        )
    return None if value is None else value.strip()
