"""One fetch for each distinct reference, however many files, keys and places use it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from injector.model.references import Reference
from injector.model.template import Source, Template, Token
from injector.plan.planner import Account, make_plan


def template(*references: Reference) -> Template:
    return Template(Source("t", b""), tuple(Token(0, 0, reference) for reference in references))


@pytest.mark.fault(53, "one fetch")
def test_keys_and_files_share_one_fetch() -> None:
    same = Reference("A", "/x")
    plan = make_plan([template(same, same), template(same)])
    assert (len(plan), plan.tokens) == (1, 3)


def test_metadata_and_connection_make_another_fetch() -> None:
    plan = make_plan(
        [template(Reference("A", "/x"), Reference("A", "/x", "version=1"), Reference("A", "/x", "", "eu"))]
    )
    assert plan.fetches == {
        Account("A", None): (Reference("A", "/x"), Reference("A", "/x", "version=1")),
        Account("A", "eu"): (Reference("A", "/x", "", "eu"),),
    }


def test_no_tokens_need_no_fetch() -> None:
    assert len(make_plan([template()])) == 0


REFERENCES = st.builds(
    Reference,
    st.sampled_from(["A", "B"]),
    st.sampled_from(["/1", "/2", "/3"]),
    st.sampled_from(["", "v=1"]),
    st.sampled_from([None, "eu"]),
)


@given(st.lists(st.lists(REFERENCES, max_size=12), max_size=5))
@pytest.mark.fault(53, "one fetch")
def test_every_reference_is_fetched_exactly_once_and_for_its_own_account(files: list[list[Reference]]) -> None:
    plan = make_plan([template(*references) for references in files])
    fetched = [reference for references in plan.fetches.values() for reference in references]
    assert len(fetched) == len(set(fetched)) == len(plan)
    assert set(fetched) == {reference for references in files for reference in references}
    assert plan.tokens == sum(map(len, files))
    for account, references in plan.fetches.items():
        assert {(reference.prefix, reference.connection) for reference in references} == {account}
