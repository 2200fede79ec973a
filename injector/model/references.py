"""What is fetched, and what comes back."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:
    from injector.model.secret import Secret


class Reference(NamedTuple):
    """
    The identity of one fetch: tokens with equal references share one value.

    `path` is the token's text between separator and keys. `metadata` is the text between the brackets without the
    injector's own names, as a protocol-1 plugin gets it; empty when there is none. `connection` names the
    credentials to use; None stands for the plugin's ambient ones.
    """

    prefix: str
    path: str
    metadata: str = ""
    connection: str | None = None

    def __str__(self) -> str:
        metadata = f"[{self.metadata}]" if self.metadata else ""
        return f"{self.prefix} {self.path}{metadata}"


class DocumentFormat(StrEnum):
    """How a value is read when a token asks for a key of it."""

    JSON = "json"
    YAML = "yaml"
    DOTENV = "dotenv"


class Lease(Struct, frozen=True):
    """The right to use a value for `duration` seconds from when it was fetched; `id` is what gives it back."""

    id: str
    duration: float
    renewable: bool = False


class Value(Struct, frozen=True):
    """
    A fetched value. `format` says how key paths look into it; `version` is the backend's, if it has one.

    `ttl` is how many seconds the value may be used before it is asked for again, None when the backend does not say.
    """

    data: Secret
    format: DocumentFormat = DocumentFormat.JSON
    version: str | None = None
    ttl: float | None = None
    lease: Lease | None = None
