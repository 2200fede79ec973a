"""INJECTOR_PLUGIN_REATTACH: what it says, and that a mistake in it is told without what it holds."""

from __future__ import annotations

import json

import pytest

from injector.backends.goplugin.reattach import Attachment, parse_attachments
from injector.errors import SettingsError

GOOD = {"network": "unix", "address": "/tmp/plugin1", "pid": 12, "protocol": 2}


def test_plugins_arrive_by_their_names_in_lower_case() -> None:
    text = json.dumps({"Demo": GOOD, "other": {"network": "tcp", "address": "127.0.0.1:10000", "pid": 3}})
    assert parse_attachments(text) == {
        "demo": Attachment("unix", "/tmp/plugin1", 12, 2),
        "other": Attachment("tcp", "127.0.0.1:10000", 3, 1),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "it is no JSON"),
        ("\udcff", "it is no JSON"),
        ("[]", "Expected `object`"),
        (json.dumps({"a b": GOOD}), "a name in it is not one of a plugin"),
        (json.dumps({"demo": GOOD | {"pid": 0}}), "Expected `int` >= 1"),
        (json.dumps({"demo": GOOD | {"protocol": 3}}), "Invalid enum value 3"),
        (json.dumps({"demo": GOOD | {"adress": ""}}), "unknown field `adress`"),
        (json.dumps({"demo": {"network": "unix", "pid": 3}}), "missing required field `address`"),
        (json.dumps({"demo": GOOD | {"network": "tcp", "address": "10.0.0.1:80"}}), "loopback"),
        (json.dumps({"demo": GOOD | {"address": "relative"}}), "absolute"),
    ],
)
def test_a_mistake_is_told(text, said) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_attachments(text)
    assert said in caught.value.message
    assert caught.value.message.startswith("INJECTOR_PLUGIN_REATTACH: ")
