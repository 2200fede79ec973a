"""The contract of protocol 1: one call for each reference, a text or a status."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest

from injector.errors import InjectorError, MissingError, ResolutionError
from injector.sdk.testing.contract_case import PluginCase

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.sdk.testing.host import FakeHost

_IN_FLIGHT = 64
_LARGE = 5 * 1024 * 1024

_ODD_PATHS = (
    "",
    "/",
    "//",
    ".",
    "../../etc/passwd",
    "/a/../b",
    " ",
    "/with blank",
    "/tab\tand\nline",
    "/nul\0byte",
    "\u200b",
    "/größe/値/🔑",
    "/e\u0301",
    "%2e%2e%2f%00",
    "/a?b=c&d#e",
    "/a|b[c=d]",
    "${HOME}$(id)`id`",
    "'; DROP TABLE secrets; --",
    "arn:aws:ssm:::parameter/x",
    "/" + "x" * 10_000,
)


class Protocol1(PluginCase):
    """Tests of a plugin's answers."""

    def test_known_paths_have_exactly_their_values(self, host1: FakeHost) -> None:
        assert {path: host1.value(path) for path in self.known} == self.known

    def test_64_calls_in_flight_each_get_their_own_answer(self, host1: FakeHost) -> None:
        paths = list(itertools.islice(itertools.cycle(self.known), _IN_FLIGHT))
        random.Random(1).shuffle(paths)  # noqa: S311 - the same order every time
        assert host1.outcomes(paths) == [self.known[path] for path in paths]

    def test_a_missing_path_is_not_found_and_costs_only_itself(self, host1: FakeHost) -> None:
        paths = [*self.known, self.missing, *self.known]
        answers = dict(zip(paths, host1.outcomes(paths), strict=True))
        error = answers.pop(self.missing)
        assert isinstance(error, MissingError), f"{self.missing!r} gave {_kind(error)}, and not a status NotFound"
        assert answers == self.known

    def test_metadata_arrives_as_it_was_written(self, host1: FakeHost) -> None:
        if not self.known_with_metadata:
            pytest.skip("this plugin knows no metadata")
        questions = list(self.known_with_metadata)
        answers = dict(zip(questions, host1.outcomes(questions), strict=True))
        assert answers == self.known_with_metadata

    def test_odd_paths_get_an_answer_each_and_do_no_harm(self, host1: FakeHost) -> None:
        for path, answer in zip(_ODD_PATHS, host1.outcomes(_ODD_PATHS), strict=True):
            assert isinstance(answer, str | ResolutionError), f"{path[:40]!r} gave {_kind(answer)}"
        self._assert_well(host1)

    def test_a_request_of_5_mb_is_taken(self, host1: FakeHost) -> None:
        if not self.takes_large_requests:
            pytest.skip("this plugin takes requests up to 4 MiB")
        path = next(iter(self.known))
        (answer,) = host1.outcomes([(path, "x" * _LARGE)])
        assert not (isinstance(answer, InjectorError) and "larger than max" in answer.message)
        assert isinstance(answer, str | ResolutionError), f"it gave {_kind(answer)}"
        self._assert_well(host1)

    def test_what_it_prints_breaks_nothing(self, host1: FakeHost) -> None:
        if not self.noisy:
            pytest.skip("this plugin prints nothing")
        assert host1.outcomes([self.noisy] * 200) == [self.known[self.noisy]] * 200
        self._assert_well(host1)

    def test_no_value_is_in_its_log_or_output(self, start: Callable[..., FakeHost]) -> None:
        host = start(protocols=(1,))
        host.outcomes([*self.known, *self.known_with_metadata, self.missing, *_ODD_PATHS])
        host.close()
        assert self._values_told(host) == [], "the values of these paths are in what the plugin logs or prints"


def _kind(answer: object) -> str:
    return answer.code if isinstance(answer, InjectorError) else type(answer).__qualname__
