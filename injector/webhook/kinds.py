"""How values of annotations are written, beside those of settings: names, paths and amounts of Kubernetes."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from injector.settings.kinds import Kind, matching

if TYPE_CHECKING:
    from collections.abc import Callable

_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_CONTAINER: Final = re.compile(_LABEL)
_VARIABLE: Final = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]{0,252}")
_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,510}")
_QUANTITY: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)(m|[kMGTPE]|[KMGTPE]i)?")
_PATH_PART: Final = re.compile(r"[^/\x00-\x1f\x7f]{1,255}")
_LONGEST_PATH: Final = 1024
_DEEPEST_PATH: Final = 64
_HIGHEST_ID: Final = 2**31 - 1
_NO_QUANTITY: Final = "none"


def _list_of(parse: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    def parse_all(text: str) -> tuple[str, ...]:
        found = tuple(parse(item.strip()) for item in text.split(","))
        if len(set(found)) != len(found):
            raise ValueError
        return found

    return parse_all


def _absolute(text: str) -> str:
    # A colon ends a path in volumeMounts; the API server refuses it.
    path = PurePosixPath(text)
    parts = path.parts[1:]
    if not text.startswith("/") or not parts or ".." in parts or ":" in text or len(text) > _LONGEST_PATH:
        raise ValueError
    if not all(_PATH_PART.fullmatch(part) for part in parts):
        raise ValueError
    return "/" + "/".join(parts)


def _relative(text: str) -> str:
    parts = text.split("/")
    if (
        len(text) > _LONGEST_PATH
        or len(parts) > _DEEPEST_PATH
        or any(part in {".", ".."} or not _PATH_PART.fullmatch(part) for part in parts)
    ):
        raise ValueError
    # '..' begins the kubelet's own names; the others mean something in a pattern, and the path becomes one.
    if parts[0].startswith("..") or set("*?[") & set(text):
        raise ValueError
    return text


def _quantity(text: str) -> str | None:
    if text == _NO_QUANTITY:
        return None
    match = _QUANTITY.fullmatch(text)
    if not match or not Decimal(match[1]):
        raise ValueError
    return text


def _identity(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or not 0 < int(text) <= _HIGHEST_ID:
        raise ValueError
    return int(text)


def _unprivileged_port(text: str) -> int:
    # Without the capability to bind others.
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1024 <= int(text) <= 65_535:
        raise ValueError
    return int(text)


def one_of(*choices: str) -> Kind:
    """The kind of a text that is one of *choices*."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return Kind(f"one of {', '.join(choices)}", parse)


NAMES = Kind("names with ',' between them, none twice", _list_of(matching(_CONTAINER)))
CONFIG_MAP = Kind("the name of a ConfigMap", matching(_SUBDOMAIN))
CONFIG_MAPS = Kind("names of ConfigMaps with ',' between them, none twice", _list_of(matching(_SUBDOMAIN)))
VARIABLE_NAMES = Kind("names of variables with ',' between them, none twice", _list_of(matching(_VARIABLE)))
VOLUME = Kind("the name of a volume", matching(_CONTAINER))
ABSOLUTE_PATH = Kind("an absolute path without '..' and ':', and not the root", _absolute)
ABSOLUTE_PATHS = Kind("absolute paths with ',' between them, none twice", _list_of(_absolute))
RELATIVE_PATH = Kind("a relative path of at most 64 parts, without '..', '*', '?' and '['", _relative)
IMAGE = Kind("an image such as registry.example/injector:1.0", matching(_IMAGE))
QUANTITY = Kind("an amount such as 50m, 1.5, 64Mi, or none", _quantity)
IDENTITY = Kind("a number from 1 to 2147483647 (0 is root)", _identity)
LISTEN_PORT = Kind("a port number from 1024 to 65535", _unprivileged_port)
MODE = one_of("native-sidecar", "sidecar", "init")
PROBES = one_of("exec", "http")
PULL_POLICY = one_of("Always", "IfNotPresent", "Never")
ENV = one_of("auto", "off")
INJECT = one_of("enabled", "disabled", "true", "false")
