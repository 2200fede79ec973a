"""
A store's errors as gRPC statuses, and as trailing metadata from which a host of ours restores them.

The names are documented in proto/tokenstore/v1/token_store.proto.
"""

from __future__ import annotations

from dataclasses import dataclass

from injector.errors import (
    AccessDenied,
    BackendUnavailable,
    CallTimeout,
    CredentialsRefused,
    DeadlineExceeded,
    InvalidConfiguration,
    InvalidReference,
    MissingError,
    ResolutionError,
    Throttled,
    UnavailableError,
)
from injector.sdk.answers import StoreFault

# The first that fits counts: leaves before their parents.
_CODES: tuple[tuple[type[ResolutionError], str], ...] = (
    (MissingError, "NOT_FOUND"),
    (AccessDenied, "PERMISSION_DENIED"),
    (CredentialsRefused, "UNAUTHENTICATED"),
    (Throttled, "RESOURCE_EXHAUSTED"),
    (BackendUnavailable, "UNAVAILABLE"),
    (CallTimeout, "DEADLINE_EXCEEDED"),
    (DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (UnavailableError, "UNAVAILABLE"),
    (InvalidReference, "INVALID_ARGUMENT"),
    (InvalidConfiguration, "INVALID_ARGUMENT"),
)

# Bytes of UTF-8. The message is sent twice, and percent-encoding makes three of one byte: together they stay below
# the 8 KiB at which gRPC peers begin to refuse a header block.
_LONGEST_MESSAGE = 800
_LONGEST_HINT = 400


@dataclass(frozen=True, slots=True)
class Status:
    """`code` is the name of a `grpc.StatusCode`; `details` is text for people; `trailers` are ASCII."""

    code: str
    details: str
    trailers: tuple[tuple[str, str], ...] = ()


def status_of(error: Exception) -> Status:
    """The status for what `answers.ask` raised. Of a foreign exception only the type's name is told."""
    if isinstance(error, ResolutionError):
        return _status_of_resolution(error)
    if isinstance(error, StoreFault):
        return Status("INTERNAL", str(error))
    return Status("UNKNOWN", f"the plugin failed with {type(error).__qualname__}; its log has the place")


def _status_of_resolution(error: ResolutionError) -> Status:
    from urllib.parse import quote  # late: start-up

    code = next((name for kind, name in _CODES if isinstance(error, kind)), "UNKNOWN")
    message = _cut(error.message, _LONGEST_MESSAGE)
    trailers = [("injector-error-code", error.code), ("injector-error-message", quote(message))]
    if error.hint:
        trailers.append(("injector-error-hint", quote(_cut(error.hint, _LONGEST_HINT))))
    if error.retry_after is not None and 0 <= error.retry_after < float("inf"):
        trailers.append(("injector-retry-after", f"{error.retry_after:.3f}"))
    return Status(code, message, tuple(trailers))


def _cut(text: str, longest: int) -> str:
    data = text.encode("utf-8", "replace")
    if len(data) <= longest:
        return data.decode()
    return data[: longest - 3].decode("utf-8", "ignore") + "…"
