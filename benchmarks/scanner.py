"""
How fast the scanner is, by kind of text, beside what memory allows.

    .venv/bin/python benchmarks/scanner.py [MEGABYTES]

`MB/s` is the median of five scans of processor time. `floor` is `data.count` of the separator over the same bytes in
the same run, `ratio` how many times longer the scan takes: that number, unlike the first, can be compared between
machines. Near-token texts are `MEGABYTES` long (50), texts with tokens a tenth of it: there, the cost is that of the
values that are made, shown as microseconds for each token.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from injector.model.template import Source
from injector.template.grammar import KNOWN_PREFIXES, Grammar
from injector.template.scanner import scan

RUNS = 5
SETTING = b"""\
  # pool size and timeouts are tuned per environment, see the runbook
  database_url: postgres://app@db.internal:5432/orders?sslmode=require
  pool: {min: 2, max: 20, idle_seconds: 300}
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """A text made of one unit, repeated; `share` of the megabytes asked for."""

    name: str
    unit: bytes
    share: float = 1.0


SHAPES = (
    Shape("plain text, no token", SETTING.replace(b"://", b" ")),
    Shape(
        "config, token per 200 bytes", (SETTING * 2)[:155] + b"\npassword: AWSPARAMSTR:///app/orders|password\n", 0.1
    ),
    Shape("dense tokens", b"AWSPARAMSTR:///a|b ", 0.1),
    Shape("near: AWSPARAMSTR:/x", b"AWSPARAMSTR:/x"),
    Shape("near: AWSPARAMST://", b"AWSPARAMST://"),
    Shape("near: ://", b"://"),
    Shape("near: AWSPARAMSTR", b"AWSPARAMSTR"),
    Shape("near: AAAA", b"A"),
    Shape("near: mixed", SETTING + b"AWSPARAMST:// {{ VAUL://x }} AZAPPCONF:/ T:// AWSPARAMSTR [://] https://a/b\n"),
)


def median_seconds(work: Callable[[], object]) -> float:
    """Processor time of `work`, the middle one of RUNS."""
    times = []
    for _ in range(RUNS):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return statistics.median(times)


def report(shape: Shape, megabytes: float, grammar: Grammar) -> str:
    """One line of the table."""
    data = shape.unit * max(1, int(megabytes * shape.share * 1e6) // len(shape.unit))
    source = Source(shape.name, data)
    size = len(data) / 1e6
    scanned = median_seconds(lambda: scan(source, grammar))
    counted = median_seconds(lambda: data.count(b"://"))
    tokens = sum(1 for _ in scan(source, grammar).tokens())
    each = f"{scanned / tokens * 1e6:8.1f}" if tokens else " " * 8
    return f"{shape.name:28} {size:6.1f} {size / scanned:8.0f} {size / counted:8.0f} {scanned / counted:7.1f} {each}"


def main() -> None:
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 50.0
    grammar = Grammar(KNOWN_PREFIXES)
    print(f"{'shape':28} {'MB':>6} {'MB/s':>8} {'floor':>8} {'ratio':>7} {'us/token':>8}")
    for shape in SHAPES:
        print(report(shape, megabytes, grammar), flush=True)


if __name__ == "__main__":
    main()
