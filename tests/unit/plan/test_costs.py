"""The figures of `injector plan`."""

from __future__ import annotations

import pytest

from injector.plan.costs import Load, estimate


@pytest.mark.parametrize(
    ("references", "batch", "calls"), [(1, 10, 1), (10, 10, 1), (11, 10, 2), (3, 1, 3), (0, 10, 0)]
)
def test_calls_are_full_batches_and_one_for_the_rest(references: int, batch: int, calls: int) -> None:
    assert Load("AWSPARAMSTR", references, batch).calls == calls


def test_a_hundred_pods_with_thirty_parameters_need_most_of_a_minute_one_by_one_and_seconds_in_batches() -> None:
    # research: 3,000 single calls are 75 s of the whole account's quota, 300 batched ones 7.5 s
    single = estimate(Load("AWSPARAMSTR", 30, 1), refresh=None, replicas=100)
    batched = estimate(Load("AWSPARAMSTR", 30, 10), refresh=None, replicas=100)
    assert (single.start_seconds, batched.start_seconds) == (75, 7.5)
    assert (single.risk, batched.risk) == ("high", "low")
    assert (batched.per_hour, batched.share, batched.price) == (0, 0, 0)


def test_refreshes_take_their_share_of_the_quota_and_their_price() -> None:
    each = estimate(Load("AWSSECRETS", 10, 1), refresh=60, replicas=10)
    assert each.per_hour == 6_000
    assert each.per_month == 6_000 * 730
    assert each.price == pytest.approx(6_000 * 730 / 10_000 * 0.05)
    assert each.share == pytest.approx(6_000 / 3600 / 10_000)
    assert each.risk == "none"


def test_nothing_is_known_of_other_services_and_one_s_own_server_has_no_quota() -> None:
    assert estimate(Load("DEMO", 3), refresh=60, replicas=1).risk == "unknown"
    own = estimate(Load("VAULT", 3), refresh=60, replicas=1)
    assert (own.risk, own.price, own.share) == ("none", None, None)
