"""A store asked in the test's own process: for the logic of a store, where breakpoints and coverage work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.errors import ResolutionError
from injector.sdk.store import Answer, Reference
from injector.sdk.testing.host import as_reference

if TYPE_CHECKING:
    from collections.abc import Iterable

    from injector.sdk.store import Outcome, TokenStore
    from injector.sdk.testing.host import Question


def resolve_in_process(store: TokenStore, questions: Iterable[Question]) -> list[Outcome]:
    """
    Asks *store* all *questions* in one call of `resolve`, and gives an outcome for each, in their order.

    An outcome is a value or the error that the store answered with. An error that `resolve` raises is the outcome of
    all that were not answered before, as under a host; other exceptions pass through. `prepare` and `close` are not
    called: under a host the first call may come before `prepare` has ended.

    AssertionError says how the store broke its contract: an answer that is no pair, an answer to another question, two
    to the same, none, or a value that is neither str, bytes, `Answer` nor an error of `injector.sdk`.
    """
    references = [as_reference(question) for question in questions]
    outcomes: dict[Reference, Outcome] = {}
    try:
        for answer in store.resolve(tuple(dict.fromkeys(references))):
            reference, outcome = _checked(answer)
            assert reference in references, f"resolve() answered {reference}, which it was not asked for"
            assert reference not in outcomes, f"resolve() answered {reference} twice"
            outcomes[reference] = outcome
    except ResolutionError as error:
        for reference in references:
            outcomes.setdefault(reference, error)
    for reference in references:
        assert reference in outcomes, f"resolve() gave no answer for {reference}"
    return [outcomes[reference] for reference in references]


def _checked(answer: object) -> tuple[Reference, Outcome]:
    # Authors need not use a type checker, so that "object" is the truth. No value may be in these texts.
    kind = type(answer).__qualname__
    assert isinstance(answer, tuple), f"resolve() gave an object of type {kind} and not a pair (reference, outcome)"
    assert len(answer) == 2, f"resolve() gave a tuple of {len(answer)} and not a pair (reference, outcome)"
    reference, outcome = answer
    assert isinstance(reference, Reference), "the first of the pair that resolve() gave is no Reference"
    assert isinstance(outcome, str | bytes | Answer | ResolutionError), (
        f"the outcome of {reference} is an object of type {type(outcome).__qualname__}"
    )
    return reference, outcome
