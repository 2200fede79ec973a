"""Whatever happens, in whatever order: in the end each file is what a fresh render gives, or its last good self."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from sidecar_bench import Bench, Store

from injector.app.rendering import RenderRequest, render
from injector.app.status import FileState
from injector.backends.contract import Limits
from injector.errors import AccessDenied, BackendUnavailable, OutputError, RunFailed
from injector.resolve import resolver

_NAMES = st.sampled_from(["f", "g.tmpl", "h.cm", "h.tmpl"])  # the last two have one output
_TOKENS = ["AAA:///x", "AAA:///y", "BBB:///x", "AAA:///x[optional=true]", "{{ AAA:///x", "text", ""]
_PATHS = st.sampled_from([("AAA", "/x"), ("AAA", "/y"), ("BBB", "/x")])
_EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("template"), _NAMES, st.lists(st.sampled_from(_TOKENS), max_size=3).map(" ".join)),
        st.tuples(st.just("delete"), _NAMES),
        st.tuples(st.just("value"), _PATHS, st.sampled_from(["one", "two", None, "denied"])),
        st.tuples(st.just("store"), st.sampled_from(["AAA", "BBB"]), st.booleans()),
        st.tuples(st.just("disk"), st.booleans()),
        st.tuples(st.just("refresh")),
        st.tuples(st.just("move"), st.integers(1, 40)),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(_EVENTS)
def test_in_the_end_every_file_is_fresh_or_its_last_good_self(events: list[tuple]) -> None:
    # Between the attempts of one fetch, which run by the machine's clock.
    pauses = mock.patch.multiple(resolver, FIRST_PAUSE=0.001, LONGEST_PAUSE=0.002)
    with tempfile.TemporaryDirectory() as directory, pauses:
        asyncio.run(_play(Path(directory), events))


async def _play(directory: Path, events: list[tuple]) -> None:
    stores = {"AAA": Store(Limits(largest_batch=10)), "BBB": Store(Limits(largest_batch=10))}
    bench = Bench(directory, stores)
    for store in stores.values():
        store.values |= {"/x": "zero", "/y": "zero"}
    bench.write("always", "AAA:///x")
    moved = 0
    try:
        await bench.start()
        for event in events:
            moved += await _do(bench, event)
        bench.sink.failure = None
        for store in stores.values():
            store.down = None
        await bench.look()
        await bench.move(340)  # the longest that anything waits: no event, no wish helps
        await _check(bench)
        _check_calls(bench, len(events), moved)
    finally:
        await bench.stop()


async def _do(bench: Bench, event: tuple) -> int:
    match event:
        case ("template", name, text):
            bench.write(name, text)
            await bench.look()
        case ("delete", name):
            (bench.templates / name).unlink(missing_ok=True)
            await bench.look()
        case ("value", (prefix, path), text):
            values = bench.stores[prefix].values
            values.pop(path, None)
            if text is not None:
                values[path] = AccessDenied("denied") if text == "denied" else text
        case ("store", prefix, is_down):
            bench.stores[prefix].down = BackendUnavailable("down") if is_down else None
        case ("disk", is_full):
            bench.sink.failure = OutputError("full") if is_full else None
        case ("refresh",):
            await bench.sidecar.refreshed("refresh")
        case ("move", seconds):
            await bench.move(seconds)
            return seconds
    return 0


async def _check(bench: Bench) -> None:
    last = {output: digest for _, output, digest in bench.published}
    for name in sorted(os.listdir(bench.templates)):
        file = bench.file(name)
        output = bench.out / file.output
        request = RenderRequest((str(bench.templates / name),), single=True)
        colliding = name.startswith("h.") and len(list(bench.templates.glob("h.*"))) == 2
        try:
            report = await render(request, bench.settings, bench.registry, environment={}, log=bench.log)
        except RunFailed:
            expected = None
        else:
            expected = None if colliding else report.files[0].data.reveal()
        if expected is not None:
            assert (file.state, file.error) == (FileState.READY, None), name
            assert output.read_bytes() == expected
        else:
            assert file.state in (FileState.STALE, FileState.FAILED), name
            assert file.error
            assert output.exists() == (str(output) in last)
            assert not output.exists() or hashlib.sha256(output.read_bytes()).hexdigest() == last[str(output)]


def _check_calls(bench: Bench, events: int, moved: int) -> None:
    for store in bench.stores.values():
        for times in store.asked().values():
            # Once for each reason there was, at most once a second of retries, and the attempts of each.
            assert times <= resolver.MOST_ATTEMPTS * (events + moved + 40)
