"""How processor time grows with the size of the input; never limits in seconds."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

Work = Callable[[], object]
ROUNDS = 20


@pytest.fixture
def growth() -> Callable[..., float]:
    """
    How many times more processor time `large` takes than `small`, each at its best of several runs.

    Runs alternate, three times at least, and go on while the answer is not `below`: a busy machine only ever adds
    time, so more runs come nearer to the truth, and what really grows too fast stays too slow in all of them.
    """

    def measure(small: Work, large: Work, *, below: float) -> float:
        few, many = [], []
        with without_collector():
            for turn in range(ROUNDS):
                few.append(processor_time(small))
                many.append(processor_time(large))
                if turn > 1 and min(many) < below * min(few):
                    break
        return min(many) / min(few)

    return measure


@contextmanager
def without_collector() -> Iterator[None]:
    """The collector's turns come when they like, and more often in a larger process."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def processor_time(work: Work) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin
