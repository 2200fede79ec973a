"""`plugins.configuration`: what stands there is the plugin's business, and still has to be JSON's types."""

from __future__ import annotations

import time

import pytest

from injector.errors import RunFailed, SettingsError
from injector.settings.load import load

HEADER = "apiVersion: config-injector.io/v1alpha1\nkind: Injector\nplugins:\n  configuration:\n"


def configuration(tmp_path, text):
    path = tmp_path / "injector.yaml"
    path.write_text(HEADER + "".join(f"    {line}\n" for line in text.splitlines()))
    return load(path=path, environ={}, flags={}).plugins.configuration


def problems(tmp_path, text):
    with pytest.raises((SettingsError, RunFailed)) as caught:
        configuration(tmp_path, text)
    return list(caught.value.errors) if isinstance(caught.value, RunFailed) else [caught.value]


def test_every_type_of_json_arrives_under_the_plugins_name_in_lower_case(tmp_path):
    text = 'AwsParamStr:\n  region: eu-west-1\n  tries: 3\n  wait: 0.5\n  deep: {on: [true, null, "0600", {}]}\nother:'
    assert configuration(tmp_path, text.replace("{on:", '{"on":')) == {
        "awsparamstr": {
            "region": "eu-west-1",
            "tries": 3,
            "wait": 0.5,
            "deep": {"on": [True, None, "0600", {}]},
        },
        "other": {},
    }


def test_without_it_there_is_none(tmp_path):
    assert load(path=None, environ={}, flags={}).plugins.configuration == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: text", "plugins.configuration.a: expected a mapping"),
        ("a: {mode: 0600}", "a.mode: this is neither"),
        ("a: {on1: yes}", "a.on1: this is neither"),
        ("a: {at: 12:30}", "a.at: this is neither"),
        ("a: {day: 2026-01-31}", "a.day: this is neither"),
        ("a: {big: .inf}", "a.big: this is neither"),
        ("a: {x: 1, x: 2}", "a: a key is there twice"),
        ("a: {1: x}", "a: a key is no text"),
        ("a: !!binary aGk=", "expected a mapping"),
    ],
)
def test_what_readers_do_not_agree_on_is_refused_at_its_place(tmp_path, text, said):
    (problem,) = problems(tmp_path, text)
    assert said in problem.message
    assert problem.place.line == 5


def test_a_circle_and_a_bomb_of_anchors_end_with_one_problem(tmp_path):
    bomb = "a:\n  l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    started = time.monotonic()
    assert [p.message for p in problems(tmp_path, bomb)] == [
        m for m in (p.message for p in problems(tmp_path, bomb)) if "too deep or too much" in m
    ]
    assert len(problems(tmp_path, "a: &a\n  inner: *a")) == 1
    assert time.monotonic() - started < 60
