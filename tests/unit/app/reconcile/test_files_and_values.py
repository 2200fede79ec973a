"""What becomes of outputs when values, templates and stores change, hour by hour of a clock that the test moves."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from sidecar_bench import value
from waiting import PATIENCE, until

from injector.app.reconcile.schedule import Schedule
from injector.app.reconcile.values import ValueCache
from injector.app.status import FileState
from injector.backends.contract import Limits
from injector.errors import AccessDenied, BackendUnavailable, OutputError, Throttled
from injector.model.policy import OnError, OnMissing, WriteMode
from injector.model.references import Lease
from injector.settings.schema import FileOverride, Settings

if TYPE_CHECKING:
    from sidecar_bench import Bench, Store


async def test_a_template_is_rendered_and_told_once(bench: Bench, stores: dict[str, Store]) -> None:
    stores["AAA"].values["/x"] = "secret"
    bench.write("app.conf.tmpl", "x=AAA:///x\n")
    sidecar = await bench.start()
    assert bench.read("app.conf") == "x=secret\n"
    digest = hashlib.sha256(b"x=secret\n").hexdigest()
    assert bench.published == [(f"{bench.templates}/app.conf.tmpl", f"{bench.out}/app.conf", digest)]
    assert sidecar.started.is_set()
    summary = sidecar.first_pass.result(0)
    assert (summary.files, summary.changed, summary.failed, summary.references, summary.errors) == (1, 1, 0, 1, ())
    assert sidecar.status().is_ready
    assert bench.meter.events["rendered", "app.conf.tmpl", "changed"] == 1


async def test_an_output_that_is_right_already_is_neither_written_nor_told(bench: Bench, stores) -> None:
    stores["AAA"].values["/x"] = "secret"
    bench.write("a", "AAA:///x")
    bench.out.mkdir()
    (bench.out / "a").write_text("secret")
    (bench.out / "a").chmod(0o600)
    before = (bench.out / "a").stat()
    await bench.start()
    assert (bench.out / "a").stat().st_mtime_ns == before.st_mtime_ns
    assert bench.published == []
    assert bench.file("a").state is FileState.READY


async def test_a_changed_value_is_written_at_the_next_refresh_and_an_unchanged_one_is_not(bench: Bench, stores) -> None:
    stores["AAA"].values |= {"/x": "old", "/y": "same"}
    bench.write("x", "AAA:///x")
    bench.write("y", "AAA:///y")
    await bench.start()
    stores["AAA"].values["/x"] = "new"
    before = (bench.out / "y").stat()
    await bench.move(301)
    assert (bench.read("x"), bench.read("y")) == ("new", "same")
    assert (bench.out / "y").stat().st_mtime_ns == before.st_mtime_ns
    assert [name.rpartition("/")[2] for name, _, _ in bench.published] == ["x", "y", "x"] or len(bench.published) == 3
    assert stores["AAA"].asked() == {"/x": 2, "/y": 2}
    assert len(stores["AAA"].calls) == 2  # one batch each time


@pytest.mark.fault(53, "a token used 10,000 times in 100 files is asked for once")
async def test_a_token_in_many_files_is_one_fetch(bench: Bench, stores) -> None:
    stores["AAA"].values["/x"] = "secret"
    for number in range(100):
        bench.write(f"f{number}", "AAA:///x\n" * 100)
    await bench.start()
    assert stores["AAA"].calls == [["/x"]]
    assert all(bench.read(f"f{number}") == "secret\n" * 100 for number in range(100))


async def test_a_changed_template_costs_no_call_and_a_new_reference_costs_one(bench: Bench, stores) -> None:
    stores["AAA"].values |= {"/x": "1", "/y": "2"}
    bench.write("f", "AAA:///x")
    await bench.start()
    await bench.move(10)
    bench.write("f", "again AAA:///x")
    await bench.look()
    assert bench.read("f") == "again 1"
    bench.write("f", "both AAA:///x AAA:///y")
    await bench.look()
    assert bench.read("f") == "both 1 2"
    assert stores["AAA"].calls == [["/x"], ["/y"]]


@pytest.mark.fault(54, "one bad token of 100 files: that file keeps its last good content, the others go on")
async def test_one_bad_file_costs_itself_only(bench: Bench, stores) -> None:
    stores["AAA"].values |= {f"/{number}": "old" for number in range(100)}
    for number in range(100):
        bench.write(f"f{number}", f"AAA:///{number}")
    await bench.start()
    stores["AAA"].values |= {f"/{number}": "new" for number in range(100)}
    stores["AAA"].values["/7"] = AccessDenied("not for you")
    calls = len(stores["AAA"].calls)
    await bench.move(301)
    assert sum(1 for call in stores["AAA"].calls[calls:] if len(call) > 1) == 10
    assert {bench.read(f"f{number}") for number in range(100) if number != 7} == {"new"}
    assert bench.read("f7") == "old"
    file = bench.file("f7")
    assert file.state is FileState.STALE
    assert file.error == f"{bench.templates}/f7:1:1: not for you"
    assert bench.sidecar.status().is_ready
    asked = stores["AAA"].asked()
    await bench.move(100)
    assert {path for path, times in stores["AAA"].asked().items() if times > asked[path]} == {"/7"}


async def test_stale_for_too_long_is_not_ready(bench: Bench, stores) -> None:
    bench.settings = replace(bench.settings, max_stale=600.0)
    stores["AAA"].values["/x"] = "old"
    bench.write("f", "AAA:///x")
    await bench.start()
    stores["AAA"].down = BackendUnavailable("down")
    await bench.move(400)
    assert bench.sidecar.status().is_ready
    await bench.move(700)
    assert not bench.sidecar.status().is_ready
    assert bench.file("f").too_stale
    assert bench.read("f") == "old"
    stores["AAA"].down = None
    await bench.move(61)
    assert bench.file("f").state is FileState.READY
    assert bench.file("f").stale_since is None


async def test_on_error_fail_is_not_ready_and_keeps_the_file(bench: Bench, stores) -> None:
    bench.settings = replace(bench.settings, on_error=OnError.FAIL)
    stores["AAA"].values["/x"] = "old"
    bench.write("f", "AAA:///x")
    await bench.start()
    stores["AAA"].down = BackendUnavailable("down")
    await bench.move(301)
    assert bench.file("f").state is FileState.FAILED
    assert bench.read("f") == "old"


@pytest.mark.fault(58, "a store that is down at the start: not ready, tried again, ready when it is back")
async def test_a_store_that_is_down_at_the_start_is_tried_again(bench: Bench, stores) -> None:
    stores["AAA"].down = BackendUnavailable("down")
    stores["BBB"].values["/y"] = "fine"
    bench.write("f", "AAA:///x")
    bench.write("g", "BBB:///y")
    sidecar = await bench.start()
    assert bench.read("g") == "fine"
    assert not sidecar.started.is_set()
    assert not (bench.out / "f").exists()
    assert [(error.code, str(error.place)) for error in sidecar.errors()] == [
        ("backend-unavailable", f"{bench.templates}/f:1:1")
    ]
    assert sidecar.first_pass.result(0).failed == 1
    calls = len(stores["AAA"].calls)
    await bench.move(600)
    assert 4 * 9 <= len(stores["AAA"].calls) - calls <= 4 * 30  # four calls an attempt, a minute apart at most
    stores["AAA"].down = None
    stores["AAA"].values["/x"] = "at last"
    await bench.move(61)
    assert bench.read("f") == "at last"
    assert sidecar.started.is_set()


@pytest.mark.fault(60, "denied is asked for again slowly: no tight loop on 403")
async def test_denied_is_asked_for_again_slowly(bench: Bench, stores) -> None:
    stores["AAA"].values["/x"] = AccessDenied("no")
    bench.write("f", "AAA:///x")
    await bench.start()
    await bench.move(3600)
    assert 10 <= stores["AAA"].asked()["/x"] <= 30
    stores["AAA"].values["/x"] = "granted"
    await bench.move(301)
    assert bench.read("f") == "granted"


@pytest.mark.fault(64, "a deleted secret: the file keeps its last good content and is marked, it is never emptied")
async def test_a_deleted_secret_keeps_the_file_and_the_others_go_on(bench: Bench, stores) -> None:
    stores["AAA"].values |= {"/x": "old", "/y": "1"}
    bench.write("f", "AAA:///x AAA:///y")
    bench.write("empty", 'AAA:///x[optional=true]."AAA:///y"')
    await bench.start()
    del stores["AAA"].values["/x"]
    stores["AAA"].values["/y"] = "2"
    await bench.move(301)
    assert bench.read("f") == "old 2"
    assert bench.file("f").state is FileState.STALE
    assert bench.read("empty") == '."2"'
    stores["AAA"].values["/x"] = "old"
    await bench.move(301)
    assert bench.file("f").state is FileState.READY
    assert bench.read("empty") == 'old."2"'


async def test_on_missing_decides_for_each_file(bench: Bench, stores) -> None:
    override = FileOverride(match="lax", on_missing=OnMissing.KEEP)
    bench.settings = replace(bench.settings, files=(override,))
    bench.write("lax", "AAA:///x")
    bench.write("strict", "AAA:///x")
    sidecar = await bench.start()
    assert bench.read("lax") == "AAA:///x"
    assert bench.file("strict").state is FileState.FAILED
    assert not sidecar.started.is_set()


@pytest.mark.fault(63, "all tokens of a file come from values that were together, also while a refresh is under way")
async def test_a_file_is_rendered_once_for_one_refresh_of_two_stores(bench: Bench, stores) -> None:
    import asyncio

    stores["AAA"].values["/x"] = "a1"
    stores["BBB"].values["/x"] = "b1"
    bench.write("f", "AAA:///x BBB:///x")
    sidecar = await bench.start()
    stores["AAA"].values["/x"], stores["BBB"].values["/x"] = "a2", "b2"
    stores["BBB"].gate = asyncio.Event()
    refreshed = asyncio.create_task(sidecar.refreshed("refresh"))
    while len(stores["BBB"].calls) < 2:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    assert bench.read("f") == "a1 b1"
    stores["BBB"].gate.set()
    summary = await refreshed
    assert (summary.changed, summary.references) == (1, 2)
    assert bench.read("f") == "a2 b2"
    assert bench.sink.published["f"] == 2


async def test_a_dead_store_delays_nobody_else(bench: Bench, stores) -> None:
    import asyncio

    stores["AAA"].gate = asyncio.Event()  # never set: it does not answer
    stores["BBB"].values["/y"] = "1"
    bench.settings = replace(bench.settings, timeout=3600.0)
    bench.write("f", "AAA:///x")
    bench.write("g", "BBB:///y")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await bench.start()
    await until(lambda: bench.read("g") == "1")
    assert bench.file("f").state is FileState.PENDING


async def test_ttl_and_lease_are_asked_for_again_at_two_thirds(bench: Bench, stores) -> None:
    stores["AAA"].values["/ttl"] = value("1", ttl=90.0)
    stores["AAA"].values["/lease"] = value("2", lease=Lease("lease-1", 30.0))
    stores["AAA"].values["/plain"] = "3"
    bench.settings = replace(bench.settings, refresh=None)
    bench.write("f", "AAA:///ttl AAA:///lease AAA:///plain")
    await bench.start()
    await bench.move(17.9)
    assert stores["AAA"].asked()["/lease"] == 1
    await bench.move(2.2)
    assert stores["AAA"].asked() == {"/lease": 2, "/ttl": 1, "/plain": 1}
    await bench.move(40.1)
    assert stores["AAA"].asked()["/ttl"] == 2
    await bench.move(10_000)
    assert stores["AAA"].asked()["/plain"] == 1


async def test_a_ttl_of_zero_is_no_loop(bench: Bench, stores) -> None:
    stores["AAA"].values["/x"] = value("1", ttl=0.0)
    bench.write("f", "AAA:///x")
    await bench.start()
    await bench.move(20)
    assert 15 <= stores["AAA"].asked()["/x"] <= 25


async def test_a_lease_is_given_back_when_no_template_uses_it(bench: Bench, stores) -> None:
    stores["AAA"].values["/x"] = value("1", lease=Lease("lease-1", 3600.0))
    stores["AAA"].values["/y"] = "2"
    bench.write("f", "AAA:///x")
    sidecar = await bench.start()
    bench.write("f", "AAA:///y")
    await bench.look()
    assert stores["AAA"].released == ["lease-1"]
    assert [token.backend for file in sidecar.status().files for token in file.tokens] == ["AAA"]
    assert len(sidecar._cache) == 1  # the value is in memory no more


async def test_a_lease_of_several_values_is_given_back_with_the_last_of_them(bench: Bench, stores) -> None:
    shared = Lease("lease-1", 3600.0)
    stores["AAA"].values |= {"/user": value("u", lease=shared), "/password": value("p", lease=shared), "/y": "2"}
    bench.write("f", "AAA:///user AAA:///password")
    await bench.start()
    bench.write("f", "AAA:///user")
    await bench.look()
    assert stores["AAA"].released == []
    bench.write("f", "AAA:///y")
    await bench.look()
    assert stores["AAA"].released == ["lease-1"]


async def test_a_push_is_asked_for_at_once(bench: Bench, stores) -> None:
    stores["AAA"].can_watch = True
    stores["AAA"].values |= {"/x": "1", "/y": "2"}
    bench.write("f", "AAA:///x AAA:///y")
    await bench.start()
    (watched,) = stores["AAA"].watched
    assert {reference.path for reference in watched} == {"/x", "/y"}
    stores["AAA"].values["/x"] = "pushed"
    stores["AAA"].changes.put_nowait(next(reference for reference in watched if reference.path == "/x"))
    while bench.read("f") != "pushed 2":
        await bench.quiet()
    assert stores["AAA"].asked() == {"/x": 2, "/y": 1}
    assert bench.meter.events["watched", "push"] == 1


@pytest.mark.fault(57, "a hundred sidecars that began together ask again at different times")
def test_a_hundred_sidecars_that_began_together_part() -> None:
    schedule, found = Schedule(300.0), value("1")
    times = sorted(
        schedule.after_success(found, ValueCache(draw=random.Random(seed)).draw(), is_first=True) for seed in range(100)
    )
    assert 150 <= times[0] < times[-1] <= 300
    # Evenly, they would be one each 1.5 s: no tenth of them in the same 5 s.
    assert max(sum(start <= time < start + 5 for time in times) for start in times) <= 10


async def test_values_are_asked_for_at_different_times_by_different_replicas(bench: Bench, stores) -> None:
    stores["AAA"].values["/x"] = "1"
    bench.write("f", "AAA:///x")
    await bench.start()
    await bench.move(149)
    assert len(stores["AAA"].calls) == 1
    times = []
    for _ in range(20):
        times.append(bench.sidecar.next_wake)
        await bench.move(330)
    gaps = {round(later - earlier) for earlier, later in pairwise(times)}
    assert len(gaps) > 5


@pytest.mark.fault(43, "a deleted template: its output stays and is told of, or goes with prune")
@pytest.mark.parametrize("prune", [False, True])
async def test_a_deleted_template(bench: Bench, stores, prune: bool) -> None:
    bench.settings = replace(bench.settings, prune=prune)
    stores["AAA"].values["/x"] = "1"
    bench.write("f", "AAA:///x")
    bench.write("g", "g")
    await bench.start()
    (bench.templates / "f").unlink()
    await bench.look()
    assert bench.file("f").state is FileState.READY  # it may be back in a moment
    await bench.move(5)
    assert (bench.out / "f").exists() is not prune
    if prune:
        assert [file.template for file in bench.sidecar.status().files] == [f"{bench.templates}/g"]
    else:
        assert bench.file("f").state is FileState.REMOVED
        assert bench.lines.getvalue().count("template is gone") == 1
        await bench.look()
        assert bench.lines.getvalue().count("template is gone") == 1
    assert len(bench.sidecar._cache) == 0
    bench.write("f", "back AAA:///x")
    await bench.look()
    assert bench.read("f") == "back 1"


async def test_a_template_that_is_away_for_a_moment_is_not_deleted(bench: Bench, stores) -> None:
    bench.settings = replace(bench.settings, prune=True)
    stores["AAA"].values["/x"] = "1"
    bench.write("f", "AAA:///x")
    await bench.start()
    away = bench.templates.with_name("away")
    bench.templates.rename(away)
    await bench.look()
    assert bench.sidecar.status().is_ready
    away.rename(bench.templates)
    await bench.move(5)
    assert bench.read("f") == "1"
    assert bench.file("f").state is FileState.READY
    bench.templates.rename(away)
    await bench.look()
    await bench.move(3600)
    assert bench.read("f") == "1"  # a directory that is away is an error, no deletion
    assert not bench.sidecar.status().is_ready
    away.rename(bench.templates)
    await bench.look()
    await bench.move(61)
    assert bench.sidecar.status().is_ready


async def test_a_renamed_template_keeps_its_output(bench: Bench) -> None:
    bench.settings = replace(bench.settings, prune=True)
    bench.write("f.tmpl", "content")
    await bench.start()
    (bench.templates / "f.tmpl").rename(bench.templates / "f.cm")
    await bench.look()
    await bench.move(5)
    assert bench.read("f") == "content"
    assert [file.template for file in bench.sidecar.status().files] == [f"{bench.templates}/f.cm"]


async def test_two_templates_with_one_output_are_an_error_of_both(bench: Bench) -> None:
    bench.write("f.tmpl", "first")
    await bench.start()
    bench.write("f.cm", "second")
    bench.write("g", "g")
    await bench.look()
    assert bench.read("f") == "first"
    assert bench.file("f.tmpl").state is FileState.STALE
    assert bench.file("f.cm").state is FileState.FAILED
    assert bench.read("g") == "g"
    (bench.templates / "f.cm").unlink()
    await bench.look()
    assert bench.file("f.tmpl").state is FileState.READY


async def test_a_template_that_is_not_well_formed_costs_itself_only(bench: Bench, stores) -> None:
    stores["AAA"].values["/x"] = "1"
    bench.write("f", "AAA:///x")
    bench.write("g", "AAA:///x")
    sidecar = await bench.start()
    bench.write("f", "{{ AAA:///x")
    bench.write("g", "new AAA:///x")
    bench.write("dangling", "")
    (bench.templates / "dangling").unlink()
    (bench.templates / "dangling").symlink_to("nowhere")
    await bench.look()
    await bench.move(5)
    assert (bench.read("f"), bench.read("g")) == ("1", "new 1")
    assert bench.file("f").state is FileState.STALE
    assert {error.code for error in sidecar.errors()} == {"token-unclosed", "input-unreadable"}
    bench.write("f", "mended AAA:///x")
    await bench.look()
    assert bench.read("f") == "mended 1"
    assert stores["AAA"].calls == [["/x"]]


@pytest.mark.fault(26, "an output that cannot be written stays as it is and is tried again with growing pauses")
async def test_a_disk_that_is_full_is_tried_again(bench: Bench, stores) -> None:
    stores["AAA"].values["/x"] = "old"
    bench.write("f", "AAA:///x")
    bench.write("g", "g")
    await bench.start()
    bench.sink.failure = OutputError("no space left")
    stores["AAA"].values["/x"] = "new"
    await bench.move(301)
    assert bench.file("f").state is FileState.STALE
    assert bench.read("f") == "old"
    tries = bench.sink.published["f"]
    await bench.move(600)
    assert 8 <= bench.sink.published["f"] - tries <= 40
    assert bench.sink.published["g"] == 1
    bench.sink.failure = None
    await bench.move(61)
    assert bench.read("f") == "new"
    assert bench.file("f").state is FileState.READY


async def test_a_set_is_published_as_a_whole_or_not_at_all(bench: Bench, stores) -> None:
    bench.settings = replace(bench.settings, write=WriteMode.SET)
    stores["AAA"].values |= {"/x": "1", "/y": "1"}
    bench.write("f", "AAA:///x")
    bench.write("g", "AAA:///y")
    await bench.start()
    assert (bench.read("f"), bench.read("g")) == ("1", "1")
    stores["AAA"].values["/x"] = "2"
    bench.write("g", "{{ AAA:///y")
    await bench.look()
    await bench.move(301)
    assert (bench.read("f"), bench.read("g")) == ("1", "1")
    assert bench.file("f").state is FileState.STALE
    assert bench.file("g").state is FileState.STALE
    bench.write("g", "two AAA:///y")
    await bench.look()
    assert (bench.read("f"), bench.read("g")) == ("2", "two 1")
    assert bench.sidecar.status().is_ready


async def test_a_template_that_is_gone_leaves_the_set(bench: Bench) -> None:
    bench.settings = replace(bench.settings, write=WriteMode.SET)
    bench.write("f", "f")
    bench.write("g", "g")
    await bench.start()
    (bench.templates / "g").unlink()
    await bench.look()
    await bench.move(5)
    assert bench.read("f") == "f"
    assert not (bench.out / "g").exists()
    assert [file.template for file in bench.sidecar.status().files] == [f"{bench.templates}/f"]


async def test_two_templates_for_one_output_file_are_refused(bench: Bench) -> None:
    bench.write("f", "f")
    await bench.start(output=bench.out)
    assert bench.out.read_text() == "f"
    bench.write("g", "g")
    await bench.look()
    assert bench.out.read_text() == "f"
    assert {error.code for error in bench.sidecar.errors()} == {"usage"}


async def test_a_plugin_that_was_down_is_watched_when_it_is_up(bench: Bench, stores) -> None:
    stores["AAA"].down = BackendUnavailable("down")
    bench.write("f", "AAA:///x")
    await bench.start()
    assert stores["AAA"].watched == []
    stores["AAA"].down, stores["AAA"].can_watch = None, True
    stores["AAA"].values["/x"] = "1"
    await bench.move(61)
    assert len(stores["AAA"].watched) == 1


async def test_a_refresh_asks_for_all_and_mends_an_output_that_somebody_changed(bench: Bench, stores) -> None:
    stores["AAA"].values["/x"] = "1"
    bench.write("f", "AAA:///x")
    sidecar = await bench.start()
    (bench.out / "f").write_text("broken")
    summary = await sidecar.refreshed("refresh")
    assert bench.read("f") == "1"
    assert summary.files == 1
    assert stores["AAA"].asked() == {"/x": 2}
    assert bench.meter.events["watched", "refresh"] == 1


async def test_settings_are_taken_when_they_are_whole_and_refused_when_not(bench: Bench, stores) -> None:
    from injector.errors import SettingsError

    stores["AAA"].values["/x"] = "1"
    bench.write("f", "AAA:///x")
    wanted: list[Settings | SettingsError] = [bench.settings]

    def load() -> Settings:
        if isinstance(wanted[0], SettingsError):
            raise wanted[0]
        return wanted[0]

    bench.load_settings = load
    sidecar = await bench.start()
    first = bench.settings
    wanted[0] = SettingsError("refresh: expected a duration")
    for _ in range(2):
        sidecar.reload()
        await bench.quiet()
    assert sidecar.status().settings_error == "refresh: expected a duration"
    assert bench.lines.getvalue().count("settings refused") == 1
    assert bench.meter.events["reloaded", "failed"] == 2
    wanted[0] = first
    sidecar.reload()
    await bench.quiet()
    assert sidecar.status().settings_error is None
    wanted[0] = replace(first, mode=0o640, refresh=30.0, listen="127.0.0.1:1")
    sidecar.reload()
    await bench.quiet()
    assert (bench.out / "f").stat().st_mode & 0o777 == 0o640
    assert "listen" in bench.lines.getvalue()
    await bench.move(34)
    assert stores["AAA"].asked()["/x"] == 2


async def test_lines_are_masked_while_values_are_in_use_and_memory_forgets_them_later(bench: Bench, stores) -> None:
    stores["AAA"].values["/x"] = "hunter-one"
    bench.write("f", "AAA:///x")
    await bench.start()
    for number in range(20):
        stores["AAA"].values["/x"] = f"hunter-{number:03}"
        await bench.move(331)
    assert bench.log.redactor.clean("hunter-019 hunter-018") == "*** ***"
    assert bench.log.redactor.clean("hunter-001") == "hunter-001"


async def test_a_publisher_that_hangs_is_named_and_does_not_hold_up_the_end(bench: Bench, stores) -> None:
    import asyncio

    bench.settings = replace(bench.settings, timeout=5.0)
    stores["AAA"].values["/x"] = "1"
    stores["BBB"].values["/y"] = "1"
    bench.sink.block = threading.Event()
    bench.write("f", "AAA:///x")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await bench.start()
    await until(bench.sink.entered.is_set)
    bench.clock.time += 6.0
    assert [late.worker for late in bench.vitals.overdue()] == ["publisher"]
    began = time.monotonic()
    await bench.stop()
    assert time.monotonic() - began < PATIENCE / 2  # the thread of the publisher would take all of it
    bench.sink.block.set()
    assert bench.vitals.overdue() == ()


async def test_throttling_is_counted_and_its_delay_is_kept(bench: Bench, stores) -> None:
    bench.settings = replace(bench.settings, timeout=0.05)
    stores["AAA"].down = Throttled("slow down", retry_after=120.0)
    bench.write("f", "AAA:///x")
    await bench.start()
    calls = len(stores["AAA"].calls)
    assert bench.meter.events["throttled", "AAA"] == calls
    await bench.move(119)
    assert len(stores["AAA"].calls) == calls
    await bench.move(2)
    assert len(stores["AAA"].calls) > calls


@pytest.mark.fault(56, "a service that throttled is asked slowly at the next refresh, too: it is learnt once")
async def test_what_throttling_taught_holds_for_the_next_refresh(bench: Bench, stores) -> None:
    store = stores["AAA"]
    store.limits = Limits(largest_batch=1)
    store.values |= {f"/{number}": "1" for number in range(6)}
    answer, refused = store.fetch, []

    async def fetch(references, *, timeout: float):
        if not refused:
            refused.append(references)
            raise Throttled("slow down")
        async for one in answer(references, timeout=timeout):
            yield one

    store.fetch = fetch
    bench.write("f", " ".join(f"AAA:///{number}" for number in range(6)))
    await bench.start()
    began = time.monotonic()
    summary = await bench.sidecar.refreshed("refresh")
    assert (summary.errors, len(refused)) == ((), 1)
    assert time.monotonic() - began > 1.0  # six calls at about two a second; at once with a budget that forgets
