"""Which names share a call, and whose each answer is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from injector_awsparamstr.batches import MOST_NAMES, assign, base_of, split

ARN = "arn:aws:ssm:eu-west-1:123456789012:parameter"


@pytest.mark.parametrize("name", ["/app/db", "/app/db:3", "/app/db:live", f"{ARN}/app/db", f"{ARN}/app/db:3"])
def test_every_way_to_name_a_parameter_has_one_base(name):
    assert base_of(name) == "app/db"


def test_a_thousand_names_are_a_hundred_full_calls():
    assert list(map(len, split(f"/p/{n}" for n in range(1000)))) == [MOST_NAMES] * 100


def test_two_versions_of_one_parameter_do_not_share_a_call():
    assert split(["/a", "/b", "/a:1", f"{ARN}/a", "/c"]) == [["/a", "/b", "/c"], ["/a:1"], [f"{ARN}/a"]]


NAMES = st.lists(
    st.builds(
        lambda arn, base, selector: (f"{ARN}/{base}" if arn else f"/{base}") + selector,
        st.booleans(),
        st.sampled_from("abcdefghijklmnop"),
        st.sampled_from(["", ":1", ":2", ":live"]),
    ),
    max_size=60,
)


@given(NAMES)
def test_every_name_is_in_one_call_that_ssm_takes(names):
    batches = split(names)
    assert sorted(name for batch in batches for name in batch) == sorted(set(names))
    for batch in batches:
        assert 1 <= len(batch) <= MOST_NAMES
        assert len({base_of(name) for name in batch}) == len(batch)


@given(NAMES, st.randoms(use_true_random=False))
def test_whatever_order_ssm_answers_in_each_name_gets_its_own(names, random):
    for batch in split(names):
        answer = {"Parameters": [], "InvalidParameters": []}
        for name in random.sample(batch, len(batch)):
            base, _, selector = name.removeprefix(ARN).partition(":")
            if selector == "2":
                answer["InvalidParameters"].append(name)
                continue
            parameter = {"Name": base, "ARN": ARN + base, "Value": name, "Version": 1}
            answer["Parameters"].append(parameter | ({"Selector": f":{selector}"} if selector else {}))
        assigned = dict(assign(batch, answer))
        assert assigned.keys() == set(batch)
        for name, parameter in assigned.items():
            assert parameter is None if name.endswith(":2") else parameter["Value"] == name


def test_a_parameter_that_aws_names_by_its_arn_is_found_by_its_name_and_the_other_way_round():
    by_arn = [{"Name": f"{ARN}/app/db", "Value": "v"}]
    assert dict(assign(["/app/db"], {"Parameters": by_arn})) == {"/app/db": by_arn[0]}
    by_name = [{"Name": "/app/db", "Value": "v"}]
    assert dict(assign([f"{ARN}/app/db:3"], {"Parameters": by_name})) == {f"{ARN}/app/db:3": by_name[0]}


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("/a:3", {"Name": "/a", "Version": 4}),
        ("/a:live", {"Name": "/a", "Version": 4, "Selector": ":old"}),
        ("/a", {"Name": "/b", "ARN": f"{ARN}/b"}),
        ("/a", {}),
    ],
)
def test_an_answer_that_is_about_something_else_is_nobodys(name, parameter):
    assert dict(assign([name], {"Parameters": [parameter]})) == {}
