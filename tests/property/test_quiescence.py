"""Changes are grouped, but never for longer than promised, and none is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from injector.watch.quiescence import Quiescence

_SECONDS = st.integers(0, 1000).map(float)
_LIMITS = st.tuples(_SECONDS, _SECONDS).map(sorted)
_HITS = st.lists(st.tuples(_SECONDS, st.booleans()), min_size=1, max_size=30)


def _hit(quiescence, hits):
    """Hits after the given gaps; returns when."""
    now, times = 0.0, []
    for gap, settled in hits:
        now += gap
        quiescence.hit(now, settled=settled)
        times.append(now)
    return times


@given(_LIMITS, _HITS)
def test_a_settled_change_is_due_at_once(limits, hits):
    quiescence = Quiescence(*limits)
    now = _hit(quiescence, hits)[-1]
    quiescence.hit(now, settled=True)
    assert quiescence.due(now) == 0.0
    quiescence.hit(now, settled=False)
    assert quiescence.due(now) == 0.0, "and stays due"


@given(_LIMITS, st.lists(_SECONDS, min_size=1, max_size=30))
def test_unsettled_changes_are_due_after_silence_or_the_longest_wait(limits, gaps):
    shortest, longest = limits
    quiescence = Quiescence(shortest, longest)
    times = _hit(quiescence, [(gap, False) for gap in gaps])
    expected, last = times[0] + shortest, times[0]
    for time in times[1:]:
        if time >= expected:  # due before this change came: it stays so until it is taken
            break
        last = time
        expected = min(last + shortest, times[0] + longest)
    assert quiescence.due(times[-1]) == max(0.0, expected - times[-1])
    assert quiescence.due(times[0] + longest) == 0.0
    assert quiescence.due(expected) == 0.0


@given(_LIMITS, _HITS, _SECONDS)
def test_nothing_is_pending_until_a_change_comes(limits, hits, later):
    quiescence = Quiescence(*limits)
    assert quiescence.due(0.0) is None
    now = _hit(quiescence, hits)[-1]
    quiescence.take()
    assert quiescence.due(now + later) is None
    quiescence.hit(now + later, settled=False)
    assert quiescence.due(now + later) == limits[0]


@given(_LIMITS, _HITS)
def test_asking_changes_nothing(limits, hits):
    asked, other = Quiescence(*limits), Quiescence(*limits)
    now = 0.0
    for gap, settled in hits:
        now += gap
        asked.due(now)
        for quiescence in (asked, other):
            quiescence.hit(now, settled=settled)
        assert asked.due(now) == other.due(now)


@pytest.mark.parametrize("limits", [(-1.0, 1.0), (2.0, 1.0)])
def test_limits_that_contradict_each_other_are_refused(limits):
    with pytest.raises(ValueError, match="at least"):
        Quiescence(*limits)
