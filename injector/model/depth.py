"""How deep a YAML document is nested, told before a parser falls over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from yaml.events import Event


def first_too_deep(events: Iterable[Event], deepest: int) -> Event | None:
    """
    The first event of a document that lies deeper than *deepest* collections, None when there is none.

    To be asked before PyYAML composes: it recurses on the C stack without a limit of its own, and 30,000 brackets end
    the process. Raises what the parser behind *events* does.
    """
    from yaml.events import CollectionEndEvent, CollectionStartEvent  # late: start-up

    depth = 0
    for event in events:
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > deepest:
            return event
    return None
