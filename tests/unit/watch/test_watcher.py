"""Whatever happens to the inputs, there is a call after it; and none for what is not an input."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from injector.app.sources import gather
from injector.telemetry.vitals import Vitals
from injector.watch.inotify import ATTRIB, Q_OVERFLOW, Inotify
from injector.watch.watcher import Change

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")
SETTLED = Change("inotify", settled=True)
UNSETTLED = Change("inotify", settled=False)


async def test_nothing_is_said_while_nothing_happens(watching, mount, tmp_path):
    async with watching([mount, tmp_path / "missing"]) as seen:
        gather([str(mount)], output_dir=None)  # reading is not a change
        await asyncio.sleep(0.3)
        assert seen.changes == []
        assert seen.meter.sources == ["rescan"]


@pytest.mark.fault(42, "a mount that is replaced is looked at again at once, once the whole new generation is there")
async def test_a_replaced_mount_is_one_settled_change(watching, mount, swap):
    async with watching([mount]) as seen:
        for number in range(5):
            swap(mount, {"a": f"{number}", "b": f"{number}"})
            changes = await seen.changed()
            assert changes[0] == SETTLED
            assert len(changes) == 1


async def test_a_file_that_a_mount_gains_or_loses_is_seen(watching, mount, swap):
    async with watching([mount]) as seen:
        swap(mount, {"a": "1", "b": "1", "c": "1"})
        await seen.changed()
        swap(mount, {"c": "1"})
        await seen.changed()


async def test_a_file_of_a_mount_named_alone_is_followed(watching, mount, swap):
    async with watching([mount / "a"]) as seen:
        for number in range(5):
            swap(mount, {"a": f"{number}", "b": ""})
            assert SETTLED in await seen.changed()


@pytest.mark.fault(43, "a template that is new, changed, renamed, emptied or deleted is looked at again")
@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "new").write_text("x"),
        lambda tree: (tree / "old").write_text("y"),
        lambda tree: (tree / "old").write_text(""),
        lambda tree: (tree / "old").chmod(0o600),
        lambda tree: (tree / "old").unlink(),
        lambda tree: (tree / "old").rename(tree / "other"),
        lambda tree: (tree / "old").rename(tree.parent / "other"),
        lambda tree: (tree.parent / "outside").rename(tree / "old"),
        lambda tree: (tree / "deep" / "er" / "file").write_text("y"),
        lambda tree: (tree / "deep" / "er").rename(tree / "deep" / "est"),
        lambda tree: shutil.rmtree(tree / "deep"),
        lambda tree: (tree / "link").unlink(),
        lambda tree: (tree / "link").resolve().write_text("y"),
        lambda tree: (tree / "dangling").symlink_to("nowhere"),
    ],
)
async def test_every_change_of_a_directory_is_seen(watching, tmp_path, change):
    tree = tmp_path / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "old").write_text("x")
    (tree / "deep" / "er" / "file").write_text("x")
    (tmp_path / "outside").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "target").write_text("x")
    (tree / "link").symlink_to("../elsewhere/target")
    async with watching([tree]) as seen:
        change(tree)
        await seen.changed()
        for directory, _, _ in os.walk(tree):  # and so is what happens afterwards, everywhere
            Path(directory, "later").write_text("x")
            await seen.changed()


async def test_a_file_that_is_written_is_unsettled_and_one_renamed_into_place_is_settled(watching, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("x")
    async with watching([tmp_path / "in"]) as seen:
        with (tmp_path / "in" / "file").open("w") as stream:
            stream.write("half")
            stream.flush()
            assert await seen.changed() == [UNSETTLED]
        assert await seen.changed() == [UNSETTLED]
        (tmp_path / "outside").write_text("whole")
        (tmp_path / "outside").rename(tmp_path / "in" / "file")
        assert await seen.changed() == [SETTLED]
        (tmp_path / "in" / "file").unlink()  # it may come back
        assert await seen.changed() == [UNSETTLED]


async def test_a_new_tree_of_directories_is_watched_to_its_leaves(watching, tmp_path):
    async with watching([tmp_path]) as seen:
        for number in range(30):
            leaf = tmp_path / f"{number}" / "a" / "b" / "c"
            leaf.mkdir(parents=True)
            (leaf / "file").write_text("x")
            await seen.changed()
            (leaf / "file").write_text("y")
            await seen.changed()


async def test_an_input_that_does_not_exist_yet_is_waited_for(watching, tmp_path):
    path = tmp_path / "a" / "b" / "c"
    async with watching([path]) as seen:
        (tmp_path / "other").write_text("not an input")
        await asyncio.sleep(0.2)
        assert seen.changes == []
        path.parent.mkdir(parents=True)
        await seen.changed()
        path.write_text("x")
        await seen.changed()
        path.write_text("y")
        await seen.changed()


async def test_the_file_beside_an_input_is_none(watching, tmp_path):
    (tmp_path / "file").write_text("x")
    async with watching([tmp_path / "file"]) as seen:
        (tmp_path / "beside").write_text("x")
        (tmp_path / "beside").unlink()
        await asyncio.sleep(0.2)
        assert seen.changes == []
        (tmp_path / "file").write_text("y")
        await seen.changed()


@pytest.mark.fault(45, "a directory that is moved away, removed or replaced as a whole is watched again")
@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_a_directory_replaced_as_a_whole_is_watched_again(watching, tmp_path, depth):
    tree = tmp_path / "x" / "y" / "z"
    replaced = [tree, tree.parent, tree.parent.parent][depth]
    tree.mkdir(parents=True)
    (tree / "file").write_text("x")
    async with watching([tree]) as seen:
        for _ in range(3):
            shutil.copytree(replaced, tmp_path / "next")
            replaced.rename(tmp_path / "old")
            (tmp_path / "next").rename(replaced)
            await seen.changed()
            (tree / "file").write_text("y")
            await seen.changed()
            (tmp_path / "old" / "not an input").write_text("y")
            shutil.rmtree(tmp_path / "old")
            await asyncio.sleep(0.1)
            assert seen.changes == []
        shutil.rmtree(replaced)
        await seen.changed()
        tree.mkdir(parents=True)
        await seen.changed()
        (tree / "file").write_text("z")
        await seen.changed()


@pytest.mark.fault(45, "a file that is watched by name goes on being watched when it is replaced")
async def test_a_file_replaced_again_and_again_is_seen_every_time(watching, tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    async with watching([path]) as seen:
        for number in range(10):
            if number % 2:
                path.unlink()
                await seen.changed()
            (tmp_path / "next").write_text(f"{number}")
            (tmp_path / "next").rename(path)
            assert SETTLED in await seen.changed()


async def test_a_link_switched_to_another_directory_is_followed_there(watching, tmp_path):
    for name in ("blue", "green"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "current").symlink_to("blue")
    async with watching([tmp_path / "current"]) as seen:
        (tmp_path / "tmp").symlink_to("green")
        (tmp_path / "tmp").rename(tmp_path / "current")
        assert await seen.changed() == [SETTLED]
        (tmp_path / "blue" / "file").write_text("x")
        await asyncio.sleep(0.1)
        assert seen.changes == []
        (tmp_path / "green" / "file").write_text("x")
        await seen.changed()


async def test_links_that_lead_in_a_circle_do_no_harm(watching, tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "self").symlink_to("self")
    (tree / "back").symlink_to(".")
    (tree / "a").symlink_to("b")
    (tree / "b").symlink_to("a")
    async with watching([tree]) as seen:
        (tree / "file").write_text("x")
        await seen.changed()


async def test_our_own_output_below_the_input_is_no_change(watching, tmp_path):
    (tmp_path / "out" / "deep").mkdir(parents=True)
    is_ours = re.compile(r"\.injector-.*\.tmp").fullmatch
    options = {"ignore": lambda name: is_ours(name) is not None, "skip": [tmp_path / "out"]}
    async with watching([tmp_path], rescan=0.2, **options) as seen:
        await asyncio.sleep(3)  # the first rescan after a fresh change says it once more
        seen.changes.clear()
        for number in range(20):
            (tmp_path / ".injector-0123456789abcdef-0.tmp").write_text(f"{number}")
            (tmp_path / "out" / "file").write_text(f"{number}")
            (tmp_path / "out" / "deep" / "file").write_text(f"{number}")
            await asyncio.sleep(0.02)
        (tmp_path / ".injector-0123456789abcdef-0.tmp").unlink()
        await asyncio.sleep(0.5)
        assert seen.changes == []
        (tmp_path / "file").write_text("x")
        await seen.changed()


async def test_an_output_directory_that_is_the_input_is_still_watched(watching, tmp_path):
    async with watching([tmp_path], skip=[tmp_path]) as seen:
        (tmp_path / "file.tmpl").write_text("x")
        await seen.changed()


async def test_other_paths_are_watched_from_then_on(watching, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    async with watching([tmp_path / "one"]) as seen:
        seen.watcher.retarget([tmp_path / "two"])
        await seen.changed()
        (tmp_path / "one" / "file").write_text("x")
        await asyncio.sleep(0.1)
        assert seen.changes == []
        (tmp_path / "two" / "file").write_text("x")
        await seen.changed()


@pytest.mark.fault(44, "a change without an event is found by the next rescan")
async def test_a_change_without_an_event_is_found_by_the_rescan(watching, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("x")
    os.link(tmp_path / "in" / "file", tmp_path / "same")
    async with watching([tmp_path / "in"], rescan=0.3) as seen:
        await asyncio.sleep(2)
        seen.changes.clear()
        (tmp_path / "same").write_text("longer")  # the kernel tells only those who watch the directory of this name
        assert {change.source for change in await seen.changed()} == {"rescan"}


@pytest.mark.fault(44, "after an overflow of the kernel's queue everything is looked at and watched anew")
async def test_a_queue_that_overflows_loses_nothing(watching, tmp_path):
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if most > 1_000_000:
        pytest.skip("the queue is too long to be filled")
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").write_text("x")
    second = Inotify()  # its queue fills as the watcher's does
    try:
        async with watching([tmp_path], ignore=lambda name: name in ("a", "b")) as seen:
            second.arm(str(tmp_path), ATTRIB)
            for _ in range(most // 2 + 100):  # the loop stands still meanwhile; none of these events matters
                os.utime(tmp_path / "a")
                os.utime(tmp_path / "b")
            (tmp_path / "new").mkdir()  # told by no event any more
            assert second.read()[-1].mask & Q_OVERFLOW
            await seen.changed()
            (tmp_path / "new" / "file").write_text("x")
            await seen.changed()
    finally:
        second.close()


@pytest.mark.fault(47, "a file that changes a thousand times a second is looked at a bounded number of times")
@pytest.mark.parametrize("atomically", [False, True])
async def test_a_storm_of_changes_leads_to_a_bounded_number_of_calls(watching, tmp_path, atomically):
    path = tmp_path / "in" / "file"
    path.parent.mkdir()
    writes = 3000

    def storm():
        for number in range(writes):
            target = tmp_path / "next" if atomically else path
            target.write_text(f"{number}")
            if atomically:
                target.rename(path)
            time.sleep(0.0005)

    async with watching([path.parent]) as seen:
        began = time.monotonic()
        thread = threading.Thread(target=storm)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.001)
        took = time.monotonic() - began
        thread.join()
        calls = len(await seen.quiet())
        assert 0 < calls <= took / 0.01 + 20
        assert calls < writes


@pytest.mark.fault(42, "1,000 replacements in a row: every look reads one whole generation, and the last one is seen")
async def test_a_thousand_replacements_are_each_read_whole_and_the_last_is_seen(watching, tmp_path):
    mount = tmp_path / "mount"
    mount.mkdir()
    async with watching([mount]) as seen:
        command = [sys.executable, str(Path(__file__).with_name("swapper.py")), str(mount), "1000"]
        process = await asyncio.create_subprocess_exec(*command)
        looks, last = 0, ""
        while process.returncode is None or seen.changes:
            if not seen.changes:
                await asyncio.sleep(0.001)
                continue
            seen.changes.clear()
            looks += 1
            found = gather([str(mount)], output_dir=None)
            contents = {source.data for _, source in found}
            assert len(contents) == 1, contents
            assert len(found) == 5 or looks < 10, found  # the links of the very first generation appear one by one
            last = contents.pop().decode()
        assert await process.wait() == 0
        if changes := await seen.quiet():
            assert changes
            looks += 1
            last = gather([str(mount)], output_dir=None)[0][1].data.decode()
        assert last == "generation 1000\n"
        assert looks <= 2100, "at most two looks for a replacement"
        print(f"{looks} looks for 1,000 replacements")


async def test_a_watcher_that_stands_still_is_overdue(watching, tmp_path):
    jumped = 0.0
    vitals = Vitals(clock=lambda: time.monotonic() + jumped)
    async with watching([tmp_path], rescan=0.1, vitals=vitals) as seen:
        for _ in range(5):  # without any event it completes its rescans
            jumped += 30.0
            assert [late.worker for late in vitals.overdue()] == ["watch"]
            await seen.until(lambda: not vitals.overdue())
        jumped += 30.0
        frozen = threading.Event()
        loop = asyncio.get_running_loop()
        checked = []
        helper = threading.Thread(target=lambda: (time.sleep(0.5), checked.append(vitals.overdue()), frozen.set()))
        helper.start()
        loop.call_soon(frozen.wait)  # what blocks the loop blocks the watcher, and the watcher is missed
        await seen.until(lambda: checked)
        helper.join()
        assert [late.worker for late in checked[0]] == ["watch"]
        await seen.until(lambda: not vitals.overdue())
    jumped += 30.0
    assert vitals.overdue() == ()  # ended on purpose


async def test_nothing_stays_open(watching, tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    async with watching([tmp_path]):
        assert len(os.listdir("/proc/self/fd")) == before + 1
    assert len(os.listdir("/proc/self/fd")) == before
