"""The contract of protocol 2 says no to plugins that break it, each by the test that guards the rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from waiting import PATIENCE

from injector.errors import PluginAnswerInvalid, PluginCrashed
from injector.sdk.testing import FakeHost, PluginContract

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Beside the SDK's own checks, which would turn most of this into a status.
SOURCE = """
import os, sys
from injector._proto.injector.plugin.v2 import plugin_pb2 as messages
from injector.sdk import Description, InvalidConfiguration, LookupStore, NotFound, serve
from injector.sdk.protocol2 import Protocol2Service

VALUES = {"/a": "value of a", "/b": "value of b"}
DESCRIPTION = dict(largest_batch=8)

class Demo(LookupStore):
    def describe(self):
        return Description(**DESCRIPTION)

    def configure(self, connection, settings):
        raise InvalidConfiguration("no such setting")

    def look_up(self, reference):
        try:
            return VALUES[reference.path]
        except KeyError:
            raise NotFound("no such path") from None

answered = Protocol2Service.resolve

def changed(answers, asked):
    return answers

def resolve(self, request, context):
    asked = messages.ResolveRequest.FromString(request).references
    raw = list(answered(self, request, context))
    answers = [answer for one in raw for answer in messages.ResolveResponse.FromString(one).answers]
    answers = changed(answers, asked)
    if answers:
        yield messages.ResolveResponse(answers=answers).SerializeToString()

Protocol2Service.resolve = resolve
# breaks here
serve(Demo(), name="broken")
"""

ONCE = "test_each_reference_of_a_batch_is_answered_once_with_its_exact_bytes"
MISSING = "test_a_missing_path_costs_only_itself_in_a_batch"
EMPTY = "test_an_empty_batch_ends_at_once_and_does_no_harm"
EQUAL = "test_each_of_equal_references_in_one_batch_gets_an_outcome"
LARGE = "test_a_batch_that_is_larger_than_described_does_no_harm"
DESCRIBED = "test_its_description_makes_sense"
SETTING = "test_a_setting_that_it_does_not_know_is_refused_or_taken_and_does_no_harm"
QUIET = "test_no_value_and_no_setting_is_in_its_log_or_output_in_protocol_2"
AT_ONCE = "test_batches_at_the_same_time_each_get_their_own_answers"

BROKEN = {
    "answers twice": (ONCE, "def changed(answers, asked): return [*answers, *answers[:1]]", "twice"),
    "forgets one": (ONCE, "def changed(answers, asked): return answers[1:]", "without one"),
    "answers what was not asked": (
        ONCE,
        "def changed(answers, asked): return [*answers, messages.Answer(reference=len(asked))]",
        "answered number 2 of a batch of 2",
    ),
    "has neither value nor error": (
        ONCE,
        "def changed(answers, asked): return [messages.Answer(reference=n) for n in range(len(asked))]",
        "neither a value nor an error",
    ),
    "mixes its answers up": (
        AT_ONCE,
        """
def changed(answers, asked):
    for answer in answers: answer.reference = len(asked) - 1 - answer.reference
    return answers
""",
        "",
    ),
    "one missing costs all": (
        MISSING,
        """
def changed(answers, asked):
    lost = [answer for answer in answers if answer.HasField("error")]
    return [messages.Answer(reference=n, error=lost[0].error) for n in range(len(asked))] if lost else answers
""",
        "",
    ),
    "a missing one is denied": (
        MISSING,
        """
def changed(answers, asked):
    for answer in answers:
        if answer.HasField("error"): answer.error.kind = messages.ERROR_KIND_DENIED
    return answers
""",
        "not ERROR_KIND_NOT_FOUND",
    ),
    "crashes on an empty batch": (
        EMPTY,
        """
def changed(answers, asked):
    if not asked: os._exit(3)
    return answers
""",
        "ended during a call",
    ),
    "gives equal references one answer": (
        EQUAL,
        "def changed(answers, asked): return answers[: len({one.path for one in asked})]",
        "without one",
    ),
    "crashes on a batch too large": (
        LARGE,
        """
def changed(answers, asked):
    if len(asked) > 8: os._exit(3)
    return answers
""",
        "it gave plugin-crashed",
    ),
    "describes a prefix in lower case": (DESCRIBED, "DESCRIPTION['prefixes'] = ('demo',)", ""),
    "describes another prefix": (DESCRIBED, "DESCRIPTION['prefixes'] = ('OTHER',)", ""),
    "tells a setting's value in its error": (
        SETTING,
        """
def configure(self, connection, settings): raise InvalidConfiguration(f"cannot use {settings}")
Demo.configure = configure
""",
        "value of a setting",
    ),
    "logs a setting's value": (
        QUIET,
        """
def configure(self, connection, settings):
    os.write(2, str(settings).encode())  # what is printed right before the end may be lost with the stream
Demo.configure = configure
""",
        "value of a setting",
    ),
    "logs values": (
        QUIET,
        """
def changed(answers, asked):
    os.write(2, str(answers).encode())
    return answers
""",
        "values of these paths",
    ),
}


class Demo(PluginContract):
    known = {"/a": "value of a", "/b": "value of b"}
    missing = "/nope"
    prefix = "DEMO"


def started(python_plugin: Callable[..., Path], change: str) -> FakeHost:
    return FakeHost([python_plugin(source=SOURCE.replace("# breaks here", change))], start_timeout=PATIENCE)


@pytest.mark.parametrize(("test", "change", "said"), BROKEN.values(), ids=BROKEN)
def test_the_contract_fails_on_a_plugin_that(
    python_plugin: Callable[..., Path], test: str, change: str, said: str
) -> None:
    with started(python_plugin, change) as host, pytest.raises(_FAILURES, match=said or None):
        getattr(Demo(), test)(host)


@pytest.mark.parametrize("test", sorted({test for test, _, _ in BROKEN.values()}))
def test_the_contract_holds_for_the_plugin_that_the_broken_ones_are_made_of(
    python_plugin: Callable[..., Path], test: str
) -> None:
    with started(python_plugin, "") as host:
        getattr(Demo(), test)(host)


_FAILURES = (AssertionError, PluginAnswerInvalid, PluginCrashed)
