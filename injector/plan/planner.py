"""What must be fetched so that every token of every template has its value."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from injector.model.references import Reference
    from injector.model.template import Template


class Account(NamedTuple):
    """Who is asked, as whom: one call budget each. `connection` None stands for ambient credentials."""

    prefix: str
    connection: str | None


class Plan(Struct, frozen=True):
    """
    `fetches` has every reference once, under its account, in the order of first use; `tokens` is how many tokens
    wait for them.
    """

    fetches: Mapping[Account, tuple[Reference, ...]]
    tokens: int

    def __len__(self) -> int:
        return sum(map(len, self.fetches.values()))


def make_plan(templates: Iterable[Template]) -> Plan:
    """Groups the tokens of *templates* by (prefix, connection, path, metadata): one fetch each."""
    accounts: dict[Account, dict[Reference, None]] = {}
    tokens = 0
    for template in templates:
        for token in template.tokens():
            tokens += 1
            reference = token.reference
            accounts.setdefault(Account(reference.prefix, reference.connection), {})[reference] = None
    return Plan({account: tuple(references) for account, references in accounts.items()}, tokens)
