"""User and group ids from what people write: a name of this machine, or a number."""

from __future__ import annotations

import grp
import pwd

from injector.errors import AccountUnknown

_LARGEST = 2**32 - 2  # (uid_t) -1 means "leave it" to chown(2)


def user_id(text: str) -> int:
    """
    The user id that *text* names: a number, or a user of this machine (of this container).

    Raises AccountUnknown.
    """
    if text.isascii() and text.isdigit():
        return _number(text, "user")
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        raise _unknown(text, "user", "/etc/passwd") from None


def group_id(text: str) -> int:
    """
    The group id that *text* names: a number, or a group of this machine (of this container).

    Raises AccountUnknown.
    """
    if text.isascii() and text.isdigit():
        return _number(text, "group")
    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        raise _unknown(text, "group", "/etc/group") from None


def _number(text: str, kind: str) -> int:
    number = int(text) if len(text) < len(str(_LARGEST)) + 1 else _LARGEST + 1
    if number > _LARGEST:
        raise AccountUnknown(f"{text[:40]} is no {kind} id", hint=f"ids are numbers from 0 to {_LARGEST}")
    return number


def _unknown(text: str, kind: str, file: str) -> AccountUnknown:
    return AccountUnknown(
        f"there is no {kind} {text!r} here",
        hint=f"use the number; a container knows only the names in its own {file}",
    )
