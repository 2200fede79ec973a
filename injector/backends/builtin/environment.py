"""`ENV://NAME`: the value of an environment variable."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from injector.backends.contract import Limits
from injector.errors import InvalidReference, ValueNotFound
from injector.model.references import Value
from injector.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from injector.backends.contract import Answer, Outcome
    from injector.model.references import Reference

# What Kubernetes takes for a container's variables, so that each of them can be named.
_NAME = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]*")


class EnvironmentBackend:
    """Answers from *environ*, the mapping that it is given; a variable that is set and empty is an empty value."""

    name = "environment variables"
    limits = Limits(largest_batch=10_000)

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    async def fetch(self, references: Sequence[Reference], *, timeout: float) -> AsyncIterator[Answer]:  # noqa: ARG002, ASYNC109  # the contract's; nothing here waits
        """
        Each reference's variable, as bytes.

        ValueNotFound when it is not set; InvalidReference for what is no name, for metadata, and for a connection.
        """
        for reference in references:
            yield reference, self._look_up(reference)

    async def close(self) -> None:
        """Nothing to give back."""

    def _look_up(self, reference: Reference) -> Outcome:
        name = reference.path
        if not _NAME.fullmatch(name):
            return InvalidReference(
                f"{name!r} is not the name of an environment variable", hint="write ENV://NAME, without a slash"
            )
        if reference.metadata or reference.connection:
            return InvalidReference(f"ENV {name} takes no metadata and no connection", hint="remove the brackets")
        if name not in self._environ:
            return ValueNotFound(
                f"the environment variable {name} is not set", hint="set it, or give a default: [default=TEXT]"
            )
        return Value(Secret(os.fsencode(self._environ[name])))
