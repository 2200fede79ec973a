"""Bodies of requests: JSON, small, and there in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from injector.web.answers import Refused

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")

LARGEST: Final = 64 * 1024
BODY_TIME: Final = 5.0
_MOST_READ: Final = 1024 * 1024  # of a body that is too large: who still sends does not read why
_DEEPEST: Final = 32


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of POST /api/session."""

    token: str


class NewConnection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of POST /api/connections."""

    name: str
    prefix: str
    settings: dict[str, Any] = {}
    secrets: dict[str, str] = {}


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of POST /api/connections/NAME/test; `token` is the path of a value to ask for, too."""

    token: str | None = None


async def read(request: Request, type_: type[T]) -> T:
    """The body as a *type_*. Raises Refused; it says what is wrong and never quotes."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "content-type", "expected the content type application/json")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused(415, "content-encoding", "expected a body without content encoding")
    body = await _whole(request)
    try:
        found = msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError:
        raise Refused(422, "body-invalid", "the body has other fields than expected") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(400, "body-invalid", "the body is not JSON") from None
    if isinstance(found, NewConnection) and _depth(found.settings) > _DEEPEST:
        raise Refused(422, "body-invalid", f"a setting is nested deeper than {_DEEPEST} levels")
    return found


async def read_nothing(request: Request) -> None:
    """For requests that need no body. Raises Refused when there is one that is no JSON object."""
    if request.headers.get("content-length", "0").strip() == "0" and "transfer-encoding" not in request.headers:
        return
    await read(request, dict[str, Any])


async def _whole(request: Request) -> bytes:
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > _MOST_READ:
        raise _too_large()
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIME):
            async for part in request.stream():
                size += len(part)
                if size <= LARGEST:
                    parts.append(part)
                elif size > _MOST_READ:
                    break
    except TimeoutError:
        raise Refused(
            408, "body-late", f"the body did not come within {BODY_TIME:g} s", headers={"Connection": "close"}
        ) from None
    if size > LARGEST:
        raise _too_large()
    return b"".join(parts)


def _too_large() -> Refused:
    return Refused(413, "body-too-large", f"the body is larger than {LARGEST} bytes", headers={"Connection": "close"})


def _depth(document: Any) -> int:
    """How deep *document* is nested, without recursion; looks no deeper than it has to."""
    depth, level = 0, [document]
    while level and depth <= _DEEPEST:
        children = [each for each in level if isinstance(each, (dict, list))]
        level = [child for each in children for child in (each.values() if isinstance(each, dict) else each)]
        depth += bool(children)
    return depth
