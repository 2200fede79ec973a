"""What an init container leaves for its sidecar: taken once, whole, and by nobody else."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from injector.app import handover
from injector.app.rendering import RenderRequest
from injector.errors import InjectorError, SealBroken, UsageError, ValueNotFound
from injector.model.references import DocumentFormat, Lease, Reference, Value
from injector.model.secret import Secret
from injector.settings.schema import PluginSettings, Settings
from injector.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from collections.abc import Callable

SWEEP = Path(__file__).parents[2] / "handover_sweep.py"
SCOPE = b"s" * 32
REQUEST = RenderRequest(("/templates",), output_dir=Path("/config"))


def value(text: bytes = b"hunter2", lease: Lease | None = None) -> Value:
    return Value(Secret(text), DocumentFormat.YAML, "7", 12.5, lease)


def leave(directory: Path, *, age: float = 0.0, scope: bytes = SCOPE, **values: Value) -> None:
    outcomes = {Reference("DEMO", f"/{name}"): each for name, each in (values or {"a": value()}).items()}
    handover.leave(directory, scope, outcomes, began=time.monotonic() - age)


def test_values_arrive_with_all_that_is_known_of_them(tmp_path: Path) -> None:
    began = time.monotonic()
    full = {
        Reference("DEMO", "/a", "x=1", "prod"): value(b"\xff\0", Lease("id", 60.0, renewable=True)),
        Reference("DEMO", "/\udcff"): Value(Secret(b"")),
    }
    local = {Reference("ENV", "HOME"): value(), Reference("FILE", "/x"): value()}
    outcomes = full | local | {Reference("DEMO", "/missing"): ValueNotFound("no")}
    assert handover.leave(tmp_path / "new" / "private", SCOPE, outcomes, began=began) == full
    taken = handover.take(tmp_path / "new" / "private", SCOPE)
    assert taken == {reference: handover.HandedValue(each, began) for reference, each in full.items()}


def test_only_its_user_reads_it_and_no_value_is_in_the_files(tmp_path: Path) -> None:
    leave(tmp_path)
    for name in ("values", "key"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        assert b"hunter2" not in (tmp_path / name).read_bytes()


def test_it_is_taken_once(tmp_path: Path) -> None:
    leave(tmp_path)
    assert handover.take(tmp_path, SCOPE)
    assert not list(tmp_path.iterdir())
    assert handover.take(tmp_path, SCOPE) is None
    assert handover.take(tmp_path / "nowhere", SCOPE) is None


def test_the_sidecars_log_tells_of_it_and_masks_the_values(tmp_path: Path) -> None:
    lines = io.StringIO()
    log = Log(Level.INFO, stream=lines)
    assert handover.taken(tmp_path, SCOPE, log) == {}
    leave(tmp_path, age=10.0)
    assert handover.taken(tmp_path, SCOPE, log)
    leave(tmp_path, scope=b"t" * 32)
    assert handover.taken(tmp_path, SCOPE, log) == {}
    log.info("canary hunter2")
    told = lines.getvalue()
    for event in ("nothing was handed over", "values taken over from init", "the hand-over is not used", "canary"):
        assert event in told
    assert "hunter2" not in told


def _cut(directory: Path) -> None:
    path = directory / "values"
    path.write_bytes(path.read_bytes()[:-1])


def _link(directory: Path) -> None:
    (directory / "values").rename(directory / "elsewhere")
    (directory / "values").symlink_to("elsewhere")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": _cut,
    "empty": lambda directory: (directory / "values").write_bytes(b""),
    "without its key": lambda directory: (directory / "key").unlink(),
    "without its values": lambda directory: (directory / "values").unlink(),
    "with a short key": lambda directory: (directory / "key").write_bytes(b"x"),
    "with another key": lambda directory: (directory / "key").write_bytes(b"x" * 32),
    "with a key too long": lambda directory: (directory / "key").write_bytes(b"x" * 100),
    "open to others": lambda directory: (directory / "values").chmod(0o640),
    "with a key open to others": lambda directory: (directory / "key").chmod(0o604),
    "a link": _link,
    "a pipe": lambda directory: ((directory / "values").unlink(), os.mkfifo(directory / "values")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_whole_or_not_ours_is_refused_and_removed(tmp_path: Path, damage: str) -> None:
    leave(tmp_path)
    DAMAGE[damage](tmp_path)
    with pytest.raises(SealBroken) as caught:
        handover.take(tmp_path, SCOPE)
    assert "hunter2" not in str(caught.value)
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= ({"values"} if damage == "a pipe" else {"elsewhere"})  # somebody else's


@hypothesis_settings(deadline=None, max_examples=60)
@given(st.integers(min_value=0), st.integers(0, 7))
def test_any_bit_that_differs_is_noticed(tmp_path_factory: pytest.TempPathFactory, place: int, bit: int) -> None:
    directory = tmp_path_factory.mktemp("handover")
    leave(directory)
    data = bytearray((directory / "values").read_bytes())
    data[place % len(data)] ^= 1 << bit
    (directory / "values").write_bytes(data)
    with pytest.raises(SealBroken):
        handover.take(directory, SCOPE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of another user")
def test_another_users_is_refused(tmp_path: Path) -> None:
    leave(tmp_path)
    os.chown(tmp_path / "values", 4711, 4711)
    with pytest.raises(SealBroken, match="another user"):
        handover.take(tmp_path, SCOPE)


@pytest.mark.parametrize("age", [4000.0, -60.0])
def test_one_of_another_time_is_refused(tmp_path: Path, age: float) -> None:
    leave(tmp_path, age=age)
    with pytest.raises(SealBroken, match="older than 60 minutes"):
        handover.take(tmp_path, SCOPE)


def test_one_of_another_start_of_the_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(tmp_path)
    monkeypatch.setattr(handover, "_boot", lambda: "another")
    with pytest.raises(SealBroken, match="another start of the machine"):
        handover.take(tmp_path, SCOPE)


def test_a_lease_that_is_over_is_not_taken(tmp_path: Path) -> None:
    leave(tmp_path, age=100.0, short=value(lease=Lease("s", 90.0)), long=value(lease=Lease("l", 900.0)))
    taken = handover.take(tmp_path, SCOPE)
    assert taken is not None
    assert [reference.path for reference in taken] == ["/long"]


def test_it_is_for_one_set_of_inputs_outputs_and_sources() -> None:
    own, plugins = Settings(), PluginSettings(configuration={"demo": {"a": 1}})
    variables = {"AWS_REGION": "eu-west-1"}
    scopes = [
        handover.scope(own, REQUEST, variables),
        handover.scope(own, RenderRequest(("/others",), output_dir=Path("/config")), variables),
        handover.scope(own, RenderRequest(("/templates",), output_dir=Path("/others")), variables),
        handover.scope(Settings(connection=("prod",)), REQUEST, variables),
        handover.scope(Settings(plugins=plugins), REQUEST, variables),
        handover.scope(Settings(plugin_path=(Path("/plugins"),)), REQUEST, variables),
        handover.scope(own, REQUEST, {"AWS_REGION": "eu-west-2"}),
        handover.scope(own, REQUEST, variables | {"AWS_ROLE_ARN": "\udcff"}),
    ]
    assert len(set(scopes)) == len(scopes)
    # What says how long to wait, when to ask again and what to log is not the same in both containers.
    same = Settings(timeout=300.0, refresh=1.0, log_level="debug")
    assert handover.scope(same, REQUEST, {"INJECTOR_LISTEN": ":1", "SHLVL": "1"} | variables) == scopes[0]


def test_one_for_another_scope_is_refused(tmp_path: Path) -> None:
    leave(tmp_path, scope=b"t" * 32)
    with pytest.raises(SealBroken, match="for other templates, settings or variables"):
        handover.take(tmp_path, SCOPE)


def test_it_may_not_lie_where_the_application_reads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for directory in ("out", "out/below", "link/x"):
        with pytest.raises(UsageError, match="output directory"):
            handover.directory_of(tmp_path / directory, tmp_path / "out")
    assert handover.directory_of(tmp_path / "private", tmp_path / "out") == tmp_path / "private"


def test_a_directory_in_its_place_is_an_error_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "values").mkdir()
    with pytest.raises(InjectorError):
        handover.take(tmp_path, SCOPE)
    with pytest.raises(InjectorError):
        leave(tmp_path)


def test_wherever_init_is_killed_it_leaves_all_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    done = subprocess.run(
        [sys.executable, str(SWEEP), str(tmp_path / "sweep")], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    places = [json.loads(line) for line in done.stdout.splitlines()]
    if "skip" in places[0]:
        pytest.skip(places[0]["skip"])
    assert len(places) > 20
    assert places[-1] == {"call": None, "state": "new", "left": []}
    states = {place["state"].partition(":")[0] for place in places}
    assert states == {"old", "nothing", "refused", "new"}
    assert all(not place["left"] for place in places)
    # In this order: the old one, nothing, the new one.
    order = [{"old": 0, "nothing": 1, "refused": 1, "new": 2}[place["state"].partition(":")[0]] for place in places]
    assert order == sorted(order)
