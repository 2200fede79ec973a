"""What a run does when a store has no such value or key, which plugins it trusts, and how it reaches them."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class OnMissing(StrEnum):
    """fail: report it · empty: write nothing · keep: leave the token's text · default: write the given text."""

    FAIL = "fail"
    EMPTY = "empty"
    KEEP = "keep"
    DEFAULT = "default"


class MissingPolicy(Struct, frozen=True):
    """The run's or the file's policy; a token's own `default=` and `optional=` go before it."""

    on_missing: OnMissing = OnMissing.FAIL
    default: str = ""


class AutoMtls(StrEnum):
    """require: no plugin without TLS · prefer: TLS with every plugin that can · off: never asked for."""

    REQUIRE = "require"
    PREFER = "prefer"
    OFF = "off"


class Verify(StrEnum):
    """
    Whether plugin files are held to a lock file.

    off: never · locked: when there is a lock file · required: always, and without a lock file none is run.
    """

    OFF = "off"
    LOCKED = "locked"
    REQUIRED = "required"
