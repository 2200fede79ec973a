"""
What a store can say instead of a value. All are leaves of `injector.errors`, under an author's names.

    raise NotFound("no parameter named /app/db in eu-west-1", hint="create it, or correct the token")
    raise Throttled("the service asked to slow down", retry_after=2.5)

The message says what and where, the hint what to do. Neither may hold a value nor a service's raw answer: they are
shown and logged by the host. `retry_after` is in seconds.
"""

from __future__ import annotations

from injector.errors import (
    AccessDenied,
    CredentialsRefused,
    InvalidConfiguration,
    InvalidReference,
    ResolutionError,
    Throttled,
)
from injector.errors import BackendUnavailable as Unavailable
from injector.errors import CallTimeout as TimedOut
from injector.errors import ValueNotFound as NotFound

__all__ = [
    "AccessDenied",
    "CredentialsRefused",
    "InvalidConfiguration",
    "InvalidReference",
    "NotFound",
    "ResolutionError",
    "Throttled",
    "TimedOut",
    "Unavailable",
]
