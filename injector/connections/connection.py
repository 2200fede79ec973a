"""What a connection is, and where connections come from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping  # noqa: TC003 - msgspec reads the fields' types
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from injector.errors import ConnectionInvalid, ConnectionUnknown
from injector.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?"
_PREFIX = r"[A-Z][A-Z0-9_]{0,62}"
_FIELD = r"[A-Za-z_][A-Za-z0-9_.-]{0,99}"
_NEAR = 3


class Connection(Struct, frozen=True):
    """
    A named set of credentials and settings for the backend of one prefix.

    `id` is never used again, also not for a connection of the same name. `version` grows with each change. `settings`
    are JSON's types, `secrets` are texts in UTF-8; no field is in both. Two that are equal configure a plugin alike.
    """

    id: str
    name: str
    prefix: str
    version: int
    settings: Mapping[str, Any] = {}
    secrets: Mapping[str, Secret] = {}

    def configuration(self) -> dict[str, Any]:
        """Settings and secrets in one object, as a plugin gets them. It holds secrets in clear: keep no copy."""
        return {**self.settings, **{field: secret.reveal().decode() for field, secret in self.secrets.items()}}

    def summary(self) -> ConnectionSummary:
        """The same without what is secret."""
        return ConnectionSummary(
            self.id, self.name, self.prefix, self.version, self.settings, tuple(sorted(self.secrets))
        )


class ConnectionSummary(Struct, frozen=True):
    """What may be shown of a connection: of `secret_fields` the names only."""

    id: str
    name: str
    prefix: str
    version: int
    settings: Mapping[str, Any] = {}
    secret_fields: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As programs get it: docs/output-format.md."""
        return {
            "id": self.id,
            "name": self.name,
            "prefix": self.prefix,
            "version": self.version,
            "settings": self.settings,
            "secrets": list(self.secret_fields),
        }


class ConnectionSource(Protocol):
    """Where connections come from. All methods do I/O and block; they may be called on any thread."""

    def summaries(self) -> tuple[ConnectionSummary, ...]:
        """All of them by name, without opening a seal. Raises InjectorError when they cannot be read."""
        ...

    def summary(self, name: str) -> ConnectionSummary:
        """
        The connection *name*, without opening a seal; others may be unreadable.

        Raises ConnectionUnknown when there is none, another InjectorError when it cannot be read.
        """
        ...

    def load(self, name: str) -> Connection:
        """
        The connection *name* with its secrets, as it is at this moment.

        Raises ConnectionUnknown when there is none, another InjectorError when it cannot be read or does not open.
        """
        ...


def check_name(name: str) -> str:
    """*name*, or ConnectionInvalid: names are such as `prod-eu`."""
    if not re.fullmatch(_NAME, name):
        raise ConnectionInvalid(
            "this is no name for a connection",
            hint="a name is 1 to 63 lower-case letters, digits, '-', '_' and '.', such as prod-eu",
        )
    return name


def check_prefix(prefix: str) -> str:
    """*prefix* in upper case, or ConnectionInvalid."""
    if not re.fullmatch(_PREFIX, prefix.upper()):
        raise ConnectionInvalid(
            "this is no prefix of tokens", hint="name the prefix of the plugin's tokens, such as AWSPARAMSTR"
        )
    return prefix.upper()


def check_fields(settings: Mapping[str, Any], secrets: Mapping[str, Secret]) -> None:
    """Raises ConnectionInvalid for a field with no proper name, one that is a setting and a secret, or no text."""
    for field in (*settings, *secrets):
        if not re.fullmatch(_FIELD, field):
            raise ConnectionInvalid(
                "a field of the connection has no proper name",
                hint="fields are letters, digits, '_', '-' and '.', and begin with a letter, such as accessKeyId",
            )
        if field in settings and field in secrets:
            raise ConnectionInvalid(f"{field} is both a setting and a secret", hint="give it once")
    for field, value in (*settings.items(), *secrets.items()):
        try:
            if isinstance(value, Secret):
                value.reveal().decode()
            else:
                json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except ValueError:
            raise ConnectionInvalid(f"{field} is not text in UTF-8, or no JSON", hint="encode it as base64") from None


def unknown(name: str, known: Iterable[str]) -> ConnectionUnknown:
    """The error for a connection that is not there; it tells of names that come near."""
    import difflib  # late: start-up

    names = sorted(known)
    near = difflib.get_close_matches(name[:100], names, n=_NEAR, cutoff=0.6)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif names:
        hint = f"there are {', '.join(names[:10])}" + (", …" if len(names) > 10 else "")
    else:
        hint = "there is no connection yet: add one with `injector connection add`"
    return ConnectionUnknown(f"there is no connection `{name}`", hint=hint)
