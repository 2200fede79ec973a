"""A sidecar over two stores in this process, see sidecar_bench."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sidecar_bench import Bench, Store

from injector.backends.contract import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def stores() -> dict[str, Store]:
    return {"AAA": Store(Limits(largest_batch=10)), "BBB": Store(Limits(largest_batch=10))}


@pytest.fixture
async def bench(tmp_path: Path, stores: dict[str, Store]) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, stores)
    yield bench
    await bench.stop()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the attempts of one fetch, which run by the machine's clock."""
    monkeypatch.setattr("injector.resolve.resolver.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("injector.resolve.resolver.LONGEST_PAUSE", 0.002)
