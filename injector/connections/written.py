"""Connections and secrets as people and Kubernetes write them: JSON, and files with a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from injector.errors import ConnectionInvalid

if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

_FORM = '{"prefix": "…", "settings": {…}, "secrets": {"name": "text"}}'


class Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A connection in JSON, or a part of one."""

    prefix: str | None = None
    settings: dict[str, Any] = {}
    secrets: dict[str, str] = {}


def read_written(data: bytes, what: str) -> Written:
    """Reads the JSON form. ConnectionInvalid, about *what*, says what is wrong and never quotes."""
    return _decoded(data, Written, what, f"an object such as {_FORM}")


def read_settings(data: bytes, what: str) -> dict[str, Any]:
    """Reads a JSON object. ConnectionInvalid, about *what*, says what is wrong and never quotes."""
    return _decoded(data, dict[str, Any], what, "an object")


def secret_text(data: bytes, what: str) -> str:
    """The text of a secret's file: UTF-8, without one line break at its end. ConnectionInvalid for other bytes."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ConnectionInvalid(
            f"{what} is not text in UTF-8", hint="encode binary credentials as the plugin wants them, base64 say"
        ) from None
    return text.removesuffix("\n").removesuffix("\r")


def _decoded(data: bytes, type_: type[T], what: str, wanted: str) -> T:
    try:
        return msgspec.json.decode(data, type=type_)
    except msgspec.ValidationError:
        problem = "is not what is expected"
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = "is not JSON"
    except RecursionError:
        problem = "is nested too deeply"
    raise ConnectionInvalid(f"{what} {problem}", hint=f"write {wanted}")
