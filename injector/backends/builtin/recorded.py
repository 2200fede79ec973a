"""Values that are there already: from a file of fixtures, or from an earlier render. Nothing is asked of any store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from injector.backends.contract import Limits
from injector.errors import ValueNotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from injector.backends.contract import Answer, Outcome
    from injector.model.references import Reference


class Recorded(Struct, frozen=True):
    """Outcomes by reference, and the file that they come from."""

    outcomes: Mapping[Reference, Outcome]
    origin: str

    def answers_for(self, prefix: str) -> bool:
        """Whether there is a value of *prefix*."""
        return any(reference.prefix == prefix for reference in self.outcomes)


class RecordedBackend:
    """
    Answers from *recorded*. Implements `backends.contract.Backend`.

    A reference with metadata or a connection that is not there itself gets what its path has without them.
    """

    limits = Limits(largest_batch=10_000)

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self.name = f"values of {recorded.origin}"

    async def fetch(
        self,
        references: Sequence[Reference],
        *,
        timeout: float,  # noqa: ARG002, ASYNC109  # part of the contract; nothing is waited for
    ) -> AsyncIterator[Answer]:
        """See Backend.fetch."""
        for reference in references:
            yield reference, self._outcome(reference)

    def _outcome(self, reference: Reference) -> Outcome:
        outcomes = self._recorded.outcomes
        plain = reference._replace(metadata="", connection=None)
        found = outcomes.get(reference) or outcomes.get(reference._replace(connection=None)) or outcomes.get(plain)
        return found or ValueNotFound(
            f"{self._recorded.origin} has no value for {reference}", hint=f"add it to {self._recorded.origin}"
        )

    async def close(self) -> None:
        """Nothing to give back."""
