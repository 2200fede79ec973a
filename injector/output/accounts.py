"""User and group ids from what people write: a name of this machine, or a number."""

from __future__ import annotations

import grp
import pwd
from typing import TYPE_CHECKING

from injector.errors import AccountUnknown

if TYPE_CHECKING:
    from collections.abc import Callable

_LARGEST = 2**32 - 2  # (uid_t) -1 means "leave it" to chown(2)


def user_id(text: str) -> int:
    """
    The user id that *text* names: a number, or a user of this machine (of this container).

    Raises AccountUnknown.
    """
    return _id(text, "user", lambda: pwd.getpwnam(text).pw_uid, "/etc/passwd")


def group_id(text: str) -> int:
    """
    The group id that *text* names: a number, or a group of this machine (of this container).

    Raises AccountUnknown.
    """
    return _id(text, "group", lambda: grp.getgrnam(text).gr_gid, "/etc/group")


def _id(text: str, kind: str, look_up: Callable[[], int], file: str) -> int:
    if text.isascii() and text.isdigit():
        return _number(text, kind)
    try:
        return look_up()
    except (KeyError, ValueError):
        raise AccountUnknown(
            f"there is no {kind} {text!r} here",
            hint=f"use the number; a container knows only the names in its own {file}",
        ) from None


def _number(text: str, kind: str) -> int:
    number = int(text) if len(text) < len(str(_LARGEST)) + 1 else _LARGEST + 1
    if number > _LARGEST:
        raise AccountUnknown(f"{text[:40]} is no {kind} id", hint=f"ids are numbers from 0 to {_LARGEST}")
    return number
