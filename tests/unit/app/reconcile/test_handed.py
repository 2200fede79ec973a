"""Values that an init container got: they count as asked for then, and their leases go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar_bench import Bench, Store, value

from injector.app.handover import HandedValue
from injector.errors import BackendUnavailable, ValueNotFound
from injector.model.references import Lease, Reference, Value

if TYPE_CHECKING:
    from collections.abc import Mapping


class TakingStore(Store):
    """One whose leases may come from another process."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: dict[Reference, str] = {}

    def let_go(self, references: object) -> None:
        raise AssertionError(references)

    def take_over(self, leases: Mapping[Reference, str]) -> None:
        self.taken |= leases


def handed(bench: Bench, *, age: float, **values: str | Value) -> dict[Reference, HandedValue]:
    """Values of AAA by name, got *age* seconds ago."""
    return {
        Reference("AAA", f"/{name}"): HandedValue(
            value(each) if isinstance(each, str) else each, bench.clock.time - age
        )
        for name, each in values.items()
    }


async def test_they_are_not_asked_for_before_their_time(bench: Bench, stores: dict[str, Store]) -> None:
    stores["AAA"].values["/x"] = "new"
    bench.write("f", "AAA:///x")
    await bench.start(handed=handed(bench, age=100.0, x="old"))
    assert bench.sidecar.first_pass.result().errors == ()
    assert bench.sidecar.started.is_set()
    assert (bench.read("f"), stores["AAA"].calls) == ("old", [])
    (token,) = bench.file("f").tokens
    assert token.age == 100.0
    # From 150 s to 300 s after they were got, as for values of its own.
    await bench.move(49.0)
    assert stores["AAA"].calls == []
    await bench.move(151.0)
    assert (bench.read("f"), len(stores["AAA"].calls)) == ("new", 1)


async def test_what_was_not_handed_over_is_asked_for(bench: Bench, stores: dict[str, Store]) -> None:
    stores["AAA"].values |= {"/x": "new", "/y": "2"}
    stores["BBB"].values["/x"] = "3"
    bench.write("f", "AAA:///x AAA:///y BBB:///x")
    await bench.start(handed=handed(bench, age=1.0, x="1"))
    assert bench.read("f") == "1 2 3"
    assert stores["AAA"].calls == [["/y"]]


async def test_what_is_due_is_asked_for_at_once_and_good_until_there_is_an_answer(
    bench: Bench, stores: dict[str, Store]
) -> None:
    stores["AAA"].down = BackendUnavailable("down")
    bench.write("f", "AAA:///x")
    await bench.start(handed=handed(bench, age=400.0, x="old"))
    assert stores["AAA"].calls
    assert bench.read("f") == "old"
    assert bench.file("f").state == "stale"
    assert bench.sidecar.status().is_ready
    stores["AAA"].down = None
    stores["AAA"].values["/x"] = "new"
    await bench.move(120.0)
    assert (bench.read("f"), bench.file("f").state) == ("new", "ready")


async def test_a_value_that_the_store_has_no_more_is_missing(bench: Bench, stores: dict[str, Store]) -> None:
    stores["AAA"].values["/x"] = ValueNotFound("gone")
    bench.write("f", "AAA:///x")
    await bench.start(handed=handed(bench, age=1.0, x="old"))
    await bench.sidecar.refreshed("refresh")
    assert bench.file("f").state == "stale"


async def test_leases_go_on_from_when_they_were_got(bench: Bench, stores: dict[str, Store]) -> None:
    store = stores["AAA"] = TakingStore()
    store.values["/x"] = value("2", lease=Lease("new", 90.0))
    bench.write("f", "AAA:///x")
    await bench.start(handed=handed(bench, age=30.0, x=value("1", lease=Lease("old", 90.0)), y="unused"))
    assert store.taken == {Reference("AAA", "/x"): "old"}
    await bench.move(23.0)  # two thirds of 90 s, less up to a tenth, less 30 s
    assert store.calls == []
    await bench.move(8.0)
    assert (bench.read("f"), len(store.calls)) == ("2", 1)
    assert store.released == [], "what was replaced runs out by itself"


async def test_leases_that_nothing_uses_are_given_back_but_for_shared_ones(
    bench: Bench, stores: dict[str, Store]
) -> None:
    store = stores["AAA"] = TakingStore()
    leased = {name: value("1", lease=Lease(of, 900.0)) for name, of in (("x", "one"), ("y", "one"), ("z", "two"))}
    bench.write("f", "AAA:///x")
    await bench.start(handed=handed(bench, age=1.0, **leased))
    assert set(store.taken.values()) == {"one", "two"}
    assert store.released == ["two"]
    bench.write("f", "nothing")
    await bench.look()
    assert store.released == ["two", "one"]


async def test_the_log_goes_on_masking_them(bench: Bench, stores: dict[str, Store]) -> None:
    stores["AAA"].values["/y"] = "other"
    bench.log.redactor.add(b"hunter2")  # as whoever takes the hand-over does
    bench.write("f", "AAA:///x")
    await bench.start(handed=handed(bench, age=1.0, x="hunter2"))
    for name in ("g", "h", "i"):  # each fetch is a reason to forget values that are out of use
        bench.write(name, "AAA:///y")
        await bench.look()
    bench.log.info("canary hunter2")
    assert "hunter2" not in bench.lines.getvalue()
