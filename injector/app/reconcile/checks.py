"""
Check commands of a sidecar: beside the publisher, so that a slow one keeps nobody else's file waiting.

A file that its command refuses is not published; the old one stays.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from injector.app.reconcile.request import Result
    from injector.errors import InjectorError
    from injector.telemetry.redaction import Redactor

AT_ONCE = 8
"""Commands; more wait, and each has no more than its time."""


class Checks:
    """Runs check commands with *environment*; what they print is told without secrets, by *redactor*."""

    def __init__(self, environment: Mapping[str, str], redactor: Redactor) -> None:
        self._environment = environment
        self._redactor = redactor
        self._free = asyncio.Semaphore(AT_ONCE)

    async def refusal(self, results: Sequence[Result]) -> InjectorError | None:
        """The first error (CheckFailed) of the commands that *results* have; None when all are fine."""
        from injector.app.checking import FileCheck, run_checks  # late: few files have a check command

        checks = [
            FileCheck(one.template, one.target.name, one.data, one.values, one.own.check.command, one.own.check_timeout)
            for one in results
            if one.own.check.command
        ]
        errors = await run_checks(checks, environment=self._environment, redactor=self._redactor, free=self._free)
        return errors[0] if errors else None
