"""
For plugin authors: a store of tokens is written as a class, `serve` makes a go-plugin program of it.

    from injector.sdk import LookupStore, NotFound, Reference, serve

    class Files(LookupStore):
        def look_up(self, reference: Reference) -> str | bytes:
            ...

    serve(Files())

The names in `__all__` are the public ones; `injector.sdk.testing` has what a plugin's tests need. Each is imported
when it is asked for, so that `import injector.sdk` costs nothing.

Belongs here: what a plugin's own process needs, and the tools that make, build and test a plugin. Does not belong
here: hosts, and anything of the product; only `injector.errors` and `injector._proto` are imported. May be imported by
plugins; of the product only by the commands `plugin new` and `plugin build`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from injector.sdk.errors import (
        AccessDenied,
        CredentialsRefused,
        InvalidConfiguration,
        InvalidReference,
        NotFound,
        ResolutionError,
        Throttled,
        TimedOut,
        Unavailable,
    )
    from injector.sdk.hclog import Logger
    from injector.sdk.serving import serve
    from injector.sdk.store import (
        Answer,
        Description,
        Lease,
        LookupStore,
        Outcome,
        Pair,
        RateLimit,
        Reference,
        TokenStore,
    )

_HOMES = {
    "AccessDenied": "errors",
    "Answer": "store",
    "CredentialsRefused": "errors",
    "Description": "store",
    "InvalidConfiguration": "errors",
    "InvalidReference": "errors",
    "Lease": "store",
    "Logger": "hclog",
    "LookupStore": "store",
    "NotFound": "errors",
    "Outcome": "store",
    "Pair": "store",
    "RateLimit": "store",
    "Reference": "store",
    "ResolutionError": "errors",
    "Throttled": "errors",
    "TimedOut": "errors",
    "TokenStore": "store",
    "Unavailable": "errors",
    "serve": "serving",
}

__all__ = [
    "AccessDenied",
    "Answer",
    "CredentialsRefused",
    "Description",
    "InvalidConfiguration",
    "InvalidReference",
    "Lease",
    "Logger",
    "LookupStore",
    "NotFound",
    "Outcome",
    "Pair",
    "RateLimit",
    "Reference",
    "ResolutionError",
    "Throttled",
    "TimedOut",
    "TokenStore",
    "Unavailable",
    "serve",
]


def __getattr__(name: str) -> object:
    # PEP 562: called for what is not here yet, then never again for that name.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # late: start-up

    value: object = getattr(importlib.import_module(f"injector.sdk.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
