"""The contract of protocol 2: batches whose every reference gets one answer. Skipped for plugins that know only 1."""

from __future__ import annotations

import json
import math
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from injector.errors import InjectorError, InvalidConfiguration, MissingError, ResolutionError
from injector.sdk.store import Answer, Reference
from injector.sdk.testing.contract_case import PluginCase, everything_said
from injector.sdk.testing.host import as_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from injector.sdk.testing.host import FakeHost, Question

_AT_ONCE = 20.0  # seconds
_MOST_BATCHES = 16  # at the same time, whatever the plugin says
_LARGEST_BATCH = 10_000  # a batch that is larger than what was described is not tried above
_MARK = "value-of-a-setting-93b1"
_CONNECTION = "contract"


class Protocol2(PluginCase):
    """Tests of a plugin's batches. `FakeHost.resolve` raises when an answer comes twice, unasked or not at all."""

    def test_its_description_makes_sense(self, host2: FakeHost) -> None:
        description = host2.describe()
        assert [prefix for prefix in description.prefixes if prefix != prefix.upper() or not prefix] == []
        if self.prefix and description.prefixes:
            assert self.prefix in description.prefixes
        if description.rate_limit is not None:
            assert math.isfinite(description.rate_limit.calls_per_second)
            assert description.rate_limit.calls_per_second > 0
        if description.schema:
            assert isinstance(json.loads(description.schema), dict), "the schema is no JSON object"

    def test_each_reference_of_a_batch_is_answered_once_with_its_exact_bytes(self, host2: FakeHost) -> None:
        wanted = self._wanted()
        assert _values(host2, [*wanted]) == wanted

    def test_a_missing_path_costs_only_itself_in_a_batch(self, host2: FakeHost) -> None:
        wanted = self._wanted()
        batch = [*wanted, as_reference(self.missing)]
        random.Random(2).shuffle(batch)  # noqa: S311 - the same order every time
        answers = _values(host2, batch)
        error = answers.pop(as_reference(self.missing))
        assert isinstance(error, MissingError), f"{self.missing!r} gave {_kind(error)}, and not ERROR_KIND_NOT_FOUND"
        assert answers == wanted

    def test_an_empty_batch_ends_at_once_and_does_no_harm(self, host2: FakeHost) -> None:
        begin = time.monotonic()
        try:
            assert host2.resolve([], timeout=_AT_ONCE * 2) == []
        except ResolutionError:  # refused, which hosts do not mind: they send none
            assert host2.is_alive
        assert time.monotonic() - begin < _AT_ONCE
        self._assert_well(host2)

    def test_each_of_equal_references_in_one_batch_gets_an_outcome(self, host2: FakeHost) -> None:
        # Hosts send none; a plugin may refuse the batch, and may not end it with OK and one answer.
        path, value = next(iter(self.known.items()))
        arrived = host2.resolve([path, path])
        assert sorted(place for place, _ in arrived) == [0, 1]
        for _, answer in arrived:
            _assert_value_or_error(answer, value)
        self._assert_well(host2)

    def test_a_batch_that_is_larger_than_described_does_no_harm(self, host2: FakeHost) -> None:
        largest = host2.describe().largest_batch
        if largest > _LARGEST_BATCH:
            pytest.skip(f"this plugin takes batches of more than {_LARGEST_BATCH}")
        batch = [*self.known, *(f"{self.missing}{number}" for number in range(largest))]
        for place, answer in host2.resolve(batch):
            _assert_value_or_error(answer, self.known.get(batch[place]))
        self._assert_well(host2)

    def test_batches_at_the_same_time_each_get_their_own_answers(self, host2: FakeHost) -> None:
        wanted = self._wanted()
        orders = [random.Random(seed).sample([*wanted], len(wanted)) for seed in range(_MOST_BATCHES)]  # noqa: S311
        with ThreadPoolExecutor(min(_MOST_BATCHES, host2.describe().most_in_flight)) as pool:
            assert list(pool.map(lambda order: _values(host2, order), orders)) == [wanted] * len(orders)

    @pytest.mark.parametrize("after", [0, 1])
    def test_a_cancelled_batch_does_not_disturb_the_next(self, host2: FakeHost, after: int) -> None:
        batch = [*self._wanted()][: host2.describe().largest_batch]
        for _ in range(_MOST_BATCHES):
            host2.cancel(batch, after=after)
        self._assert_well(host2)

    def test_a_setting_that_it_does_not_know_is_refused_or_taken_and_does_no_harm(self, host2: FakeHost) -> None:
        _configure(host2, {"no such setting": _MARK})
        self._assert_well(host2)

    def test_no_value_and_no_setting_is_in_its_log_or_output_in_protocol_2(self, host2: FakeHost) -> None:
        _values(host2, [*self._wanted(), as_reference(self.missing)])
        _configure(host2, {"no such setting": _MARK})
        schema = json.loads(host2.describe().schema or "{}")
        for name, rule in schema.get("properties", {}).items():
            if isinstance(rule, dict) and rule.get("writeOnly"):
                _configure(host2, {name: _MARK})
        host2.close()
        assert self._values_told(host2) == [], "the values of these paths are in what the plugin logs or prints"
        assert _MARK not in everything_said(host2), "the value of a setting is in what the plugin logs or prints"

    def test_it_speaks_protocol_1_with_a_host_that_knows_no_other(
        self, host2: FakeHost, start: Callable[..., FakeHost]
    ) -> None:
        assert host2.handshake.version > 1
        host = start(protocols=(1,))
        assert host.handshake.version == 1
        self._assert_well(host)

    def _wanted(self) -> dict[Reference, bytes]:
        texts: list[tuple[Question, str]] = [*self.known.items(), *self.known_with_metadata.items()]
        return {
            **{as_reference(question): text.encode() for question, text in texts},
            **{as_reference(path): data for path, data in self.known_bytes.items()},
        }


def _values(host: FakeHost, references: Sequence[Reference]) -> dict[Reference, object]:
    # In batches as large as described: each answer's bytes, or its error.
    found: dict[Reference, object] = {}
    for batch in _batches(references, host.describe().largest_batch):
        for place, outcome in host.resolve(batch):
            found[batch[place]] = outcome.value if isinstance(outcome, Answer) else outcome
    return found


def _batches(references: Sequence[Reference], size: int) -> Iterable[Sequence[Reference]]:
    return (references[at : at + size] for at in range(0, len(references), size))


def _configure(host: FakeHost, settings: dict[str, str]) -> None:
    refusal = ""
    try:
        host.configure(_CONNECTION, settings)
    except InvalidConfiguration as error:
        refusal = f"{error.message} {error.hint}"
    assert _MARK not in refusal, "the value of a setting is in the plugin's error"


def _assert_value_or_error(answer: Answer | InjectorError, value: str | None) -> None:
    if isinstance(answer, Answer):
        assert value is None or answer.value == value.encode()
    else:
        assert isinstance(answer, ResolutionError), f"it gave {_kind(answer)}"


def _kind(answer: object) -> str:
    return answer.code if isinstance(answer, InjectorError) else type(answer).__qualname__
