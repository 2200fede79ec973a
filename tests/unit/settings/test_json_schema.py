"""The JSON Schema says what the reader of settings says, as far as a schema can."""

from __future__ import annotations

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from injector.settings import action_kinds, kinds
from injector.settings.json_schema import json_schema
from injector.settings.kinds import Kind
from injector.settings.options import OPTIONS, OVERRIDES

HEADER = "apiVersion: config-injector.io/v1alpha1\nkind: Injector\n"
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def problems(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(HEADER + text))]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_every_setting_is_in_it() -> None:
    properties = json_schema()["properties"]
    for option in OPTIONS:
        group, _, name = option.key.rpartition(".")
        assert name in (properties["plugins"]["properties"] if group else properties)
    assert len(properties["files"]["items"]["properties"]) == len(OVERRIDES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "onMissing: default\ntimeout: 1m30s\nmode: '0640'\nplugins:\n  callTimeout: 500ms\n  maxValueSize: 1Mi\n",
        "mode: 0600\nrefresh: off\nmaxStale: 'off'\nlisten: '[::1]:8080'\n",
        "plugins:\n  verify: off\n  autoMtlsFor: {demo: off}\n  configuration: {demo: {any: [1, {thing: true}]}}\n",
        "plugins:\nfiles:\n  - {match: '*.conf', write: in-place, owner: 1000}\nowner: app\n",
        "pluginPath: [a, /b]\nonError:\n",
        "notify:\n  - {signal: HUP, process: nginx}\n  - exec: [/bin/reload, --now, 1]\n    timeout: 30s\n",
        "notify:\n  - {http: 'http://127.0.0.1:9/r', method: POST, headers: {X-A: '1'}, expect: [200, 204]}\n",
        "notify:\n  - {rollout: deployment/shop, namespace: shop, minInterval: 5m, name: shop, match: '*.conf'}\n",
        "inputs: [templates]\noutputDir: out\n",
    ],
)
def test_what_is_right_passes(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "onMising: fail\n",
        "onMissing: perhaps\n",
        "timeout: soon\n",
        "mode: '0888'\n",
        "listen: nowhere\n",
        "files:\n  - {mode: '0600'}\n",
        "plugins: {callTimeOut: 1s}\n",
        "pluginPath: one\n",
        "notify:\n  - {signal: HUP, exec: [a]}\n",
        "notify:\n  - {http: 'http://x/', metod: POST}\n",
        "notify:\n  - signal:HUP:process=nginx\n",
    ],
)
def test_what_is_wrong_is_refused(text: str) -> None:
    assert problems(text)


def test_a_file_without_its_header_is_refused() -> None:
    assert not VALIDATOR.is_valid({})


KINDS = sorted(
    (name, kind) for module in (kinds, action_kinds) for name, kind in vars(module).items() if isinstance(kind, Kind)
)


@pytest.mark.parametrize(("name", "kind"), KINDS, ids=[name for name, _ in KINDS])
@given(text=st.one_of(st.from_regex(r"[0-9a-zA-Z:.\[\]-]{1,12}", fullmatch=True), st.text(max_size=8)))
def test_the_schema_refuses_nothing_that_the_reader_takes(name: str, kind: Kind, text: str) -> None:
    import re

    try:
        kind.parse(text)
    except ValueError:
        return
    if kind.pattern is not None and text.lower() not in ("no", "false"):  # booleans to YAML, and so to the schema
        assert re.search(f"^(?:{kind.pattern})$", text), text
    if kind.choices:
        assert text in kind.choices
