"""A publisher that dies at any system call, and one of whose system calls fails (tests/syscall_sweep.py)."""

from __future__ import annotations

import errno

import pytest

pytestmark = pytest.mark.timeout(300)  # hundreds of processes, one after the other, perhaps on a busy machine

# The number of places differs between Pythons; far fewer would mean that the sweep missed the publish.
_REPLACED = {"one": 40, "several": 90}
_SETS = {"set-first": 100, "set-update": 200, "set-change": 200}


def _is_cured(place):
    """Whether a sweep leaves just the state that was there, and the next publish the new one, without leftovers."""
    return place["repaired"] == [place["state"], []] and place["last"] == ["new", []]


@pytest.mark.fault(30, "each file is the old one or the new one, and leftovers go with the next write")
@pytest.mark.parametrize("scenario", _REPLACED)
def test_files_are_old_or_new_wherever_the_writer_is_killed(syscall_sweep, scenario):
    places = syscall_sweep("kill", scenario)
    assert len(places) > _REPLACED[scenario]
    assert {place["state"] for place in places} - {"some"} == {"old", "new"}
    # Files are switched one after the other: "some" are the moments between the first and the last.
    order = [place["state"] for place in places]
    assert order == sorted(order, key=["old", "some", "new"].index)
    assert any(place["strays"] for place in places), "no kill hit a moment with a temporary file"
    assert [place for place in places if not _is_cured(place)] == []


@pytest.mark.fault(31, "the set is the old one or the new one as a whole, by name and through ..data, and leftovers go")
@pytest.mark.parametrize("scenario", _SETS)
def test_a_set_is_old_or_new_as_a_whole_wherever_the_writer_is_killed(syscall_sweep, scenario):
    places = syscall_sweep("kill", scenario)
    assert len(places) > _SETS[scenario]
    order = [place["state"] for place in places]
    assert set(order) == {"old", "new"}
    assert order == sorted(order, key=["old", "new"].index)
    assert sum(bool(place["strays"]) for place in places) > 20, "the kills did not hit the moments that matter"
    assert [place for place in places if not _is_cured(place)] == []


@pytest.mark.fault(26, "a full disk keeps the old file whole, and nothing temporary stays")
@pytest.mark.parametrize("scenario", [*_REPLACED, "in-place", *_SETS])
def test_no_space_at_any_call_keeps_the_old_content(syscall_sweep, scenario):
    _holds_what_it_says(syscall_sweep("fail", scenario, errno.ENOSPC), "no space is left on its file system")


@pytest.mark.fault(27, "a disk error at any call keeps the old file whole, or says that the new one may not last")
@pytest.mark.parametrize("scenario", [*_REPLACED, "in-place", *_SETS])
def test_a_disk_error_at_any_call_is_told_and_nothing_is_torn(syscall_sweep, scenario):
    _holds_what_it_says(syscall_sweep("fail", scenario, errno.EIO), "the disk reports an input/output error")


def _holds_what_it_says(places, message):
    calls = {place["call"] for place in places}
    assert {"fsync", "openat"} < calls
    assert {"write", "renameat"} < calls or {"pwrite64"} < calls
    for place in places:
        if place["code"] == "done":
            assert place["state"] == "new", place
        elif place["code"] == "output-partly-written":
            assert place["state"] in ("some", "new"), place
        else:
            assert (place["code"], place["state"], place["strays"]) == ("output-unwritable", "old", []), place
            assert message in place["message"], place
            assert place["hint"], place
        assert _is_cured(place), place
    # Where a call matters, its failure is no success.
    vital = {"write", "pwrite64", "fsync", "renameat", "mkdirat", "symlinkat", "ftruncate", "fallocate"}
    assert [place for place in places if place["call"] in vital and place["code"] == "done"] == []
