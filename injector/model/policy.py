"""What a run does when a store has no such value or key, and what it asks of the way to a plugin."""

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
