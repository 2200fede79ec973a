"""What commands may see of our environment: what plugins see of it, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def inherited(environment: Mapping[str, str], extra: Sequence[str] = ()) -> dict[str, str]:
    """The variables of *environment* that a plugin may have, and those that *extra* names (`NAME` or `NAME_*`)."""
    from injector.backends.goplugin.environment import may_pass  # one list, whoever is started

    return {name: value for name, value in environment.items() if may_pass(name, extra)}
