"""
What an init container leaves for the sidecar that follows it, so that no store is asked twice.

Two files in a directory of their own: `values`, sealed (connections/sealing.py) for one set of inputs, outputs and
sources of values, and `key`, which opens it. Whoever takes it removes it. Inside is msgpack: when the values were asked
for, by the clock that all containers of a pod share, and of each what a `Value` has.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from injector.errors import InjectorError, SealBroken, UsageError
from injector.model.references import DocumentFormat, Lease, Reference, Value
from injector.model.secret import Secret
from injector.output.publisher import PublishRequest, publish
from injector.output.removal import remove

if TYPE_CHECKING:
    from collections.abc import Mapping

    from injector.backends.contract import Outcome
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log

VALUES, KEY = Path("values"), Path("key")
_LONGEST_WAIT = 3600.0  # seconds from init to sidecar: an image that is pulled meanwhile, not one that never came
_LARGEST = 256 * 1024 * 1024  # bytes
_PURPOSE = b"injector hand-over 1\0"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LOCAL = frozenset({"ENV", "FILE"})
"""Prefixes whose values are the container's own, and cost no call: they are looked up again."""


class HandedValue(Struct, frozen=True):
    """A value that another process got; it asked for it at `fetched_at` (monotonic)."""

    value: Value
    fetched_at: float


class _Row(Struct, frozen=True, array_like=True):
    """A value. Texts of references are bytes: they may hold what is no UTF-8."""

    prefix: str
    path: bytes
    metadata: bytes
    connection: str | None
    format: str
    data: bytes
    version: str | None
    ttl: float | None
    lease: tuple[str, float, bool] | None


class _Left(Struct, frozen=True, array_like=True):
    """`boot` names the run of the kernel whose monotonic clock `began` is of."""

    boot: str
    began: float
    rows: tuple[_Row, ...]


class Wanted(Protocol):
    """The parts of a request, of init or of run, that a hand-over is for."""

    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def output(self) -> Path | None: ...
    @property
    def output_dir(self) -> Path | None: ...


def directory_of(directory: Path, output_dir: Path | None) -> Path:
    """*directory*. Raises UsageError for one at or below *output_dir*: the application mounts that."""
    if output_dir is not None:
        inside = Path(os.path.realpath(directory))
        if inside.is_relative_to(os.path.realpath(output_dir)):
            raise UsageError(
                "the hand-over lies in the output directory, which the application reads",
                hint="give --handover a memory volume that only the init container and the sidecar mount",
            )
    return directory


def scope(settings: Settings, wanted: Wanted, environment: Mapping[str, str]) -> bytes:
    """
    What a hand-over is for, as 32 bytes: the same inputs and outputs, and all that says where values come from and who
    asks for them, the variables that plugins get among it.
    """
    import msgspec  # late: the codecs

    from injector import __version__
    from injector.backends.goplugin.environment import may_pass

    connections, plugins = settings.connections, settings.plugins
    parts = [
        __version__,
        wanted.inputs,
        [str(path) for path in (wanted.output, wanted.output_dir, connections.store, connections.directory)],
        [str(path) for path in settings.plugin_path],
        plugins.configuration,
        settings.connection,
        {name: text for name, text in environment.items() if may_pass(name, plugins.pass_environment)},
    ]
    # Of variables any bytes may come.
    plain = json.dumps(msgspec.to_builtins(parts), sort_keys=True)
    return hashlib.sha256(plain.encode()).digest()


def clear(directory: Path) -> None:
    """Removes what an init before this one left. Raises OutputError."""
    for name in (KEY, VALUES):
        remove(name, directory)


def leave(
    directory: Path, scope: bytes, outcomes: Mapping[Reference, Outcome], *, began: float
) -> dict[Reference, Value]:
    """
    Leaves the values of *outcomes*, which were asked for at *began* (monotonic), in *directory*; gives those it left.

    Errors and values of the container's own (ENV, FILE) are left out. Killed at any moment, it has left all or nothing
    that opens. Raises OutputError.
    """
    import msgspec  # late: the codecs

    from injector.connections import sealing

    left = {
        reference: outcome
        for reference, outcome in outcomes.items()
        if not isinstance(outcome, InjectorError) and reference.prefix not in _LOCAL
    }
    plain = msgspec.msgpack.encode(_Left(_boot(), began, tuple(_row(*item) for item in left.items())))
    with sealing.wiped(sealing.new_key()) as key:
        sealed = sealing.seal(key, plain, _PURPOSE + scope)
        # In this order: values without their key are nothing.
        publish([PublishRequest(VALUES, sealed, root=directory), PublishRequest(KEY, bytes(key), root=directory)])
    return left


def take(directory: Path, scope: bytes) -> dict[Reference, HandedValue] | None:
    """
    Takes what was left for *scope*: it is gone from *directory* afterwards, whether or not it could be used.

    None when nothing was left. Raises SealBroken when it is not whole, not ours, for another scope, or too old; and
    OutputError when it cannot be removed.
    """
    try:
        key, sealed = _read(directory / KEY, 64), _read(directory / VALUES, _LARGEST)
    finally:
        clear(directory)
    if key is None and sealed is None:
        return None
    if key is None or sealed is None:
        raise SealBroken("the values or their key are missing")
    return _opened(key, sealed, scope)


def _opened(key: bytes, sealed: bytes, scope: bytes) -> dict[Reference, HandedValue]:
    import msgspec  # late: the codecs

    from injector.connections import sealing

    if len(key) != sealing.KEY_SIZE:
        raise SealBroken("its key is none")
    try:
        left = msgspec.msgpack.decode(sealing.unseal(key, sealed, _PURPOSE + scope), type=_Left)
        handed = {_reference(row): HandedValue(_value(row), left.began) for row in left.rows}
    except (msgspec.DecodeError, ValueError):
        raise SealBroken("it is of another version of injector") from None
    except SealBroken:
        raise SealBroken("it is for other templates, settings or variables, or was changed") from None
    age = time.monotonic() - left.began
    if left.boot != _boot() or not 0 <= age <= _LONGEST_WAIT:
        raise SealBroken(f"it is older than {_LONGEST_WAIT / 60:.0f} minutes, or of another start of the machine")
    return {reference: one for reference, one in handed.items() if not _is_over(one.value, age)}


def taken(directory: Path, scope: bytes, log: Log) -> dict[Reference, HandedValue]:
    """`take`, for a sidecar: whatever is wrong is a line of the log, and the stores are asked. Values are masked."""
    try:
        handed = take(directory, scope)
    except InjectorError as error:
        log.warning("the hand-over is not used, the stores are asked", reason=error.message, directory=str(directory))
        return {}
    if handed is None:
        log.info("nothing was handed over, the stores are asked", directory=str(directory))
        return {}
    for one in handed.values():
        log.redactor.add(one.value.data.reveal())
    age = max((time.monotonic() - one.fetched_at for one in handed.values()), default=0.0)
    log.info("values taken over from init", values=len(handed), age=round(age, 1))
    return handed


def _is_over(value: Value, age: float) -> bool:
    return value.lease is not None and value.lease.duration <= age


def _row(reference: Reference, value: Value) -> _Row:
    lease = value.lease
    return _Row(
        reference.prefix,
        reference.path.encode("utf-8", "surrogateescape"),
        reference.metadata.encode("utf-8", "surrogateescape"),
        reference.connection,
        value.format.value,
        value.data.reveal(),
        value.version,
        value.ttl,
        None if lease is None else (lease.id, lease.duration, lease.renewable),
    )


def _reference(row: _Row) -> Reference:
    path, metadata = (text.decode("utf-8", "surrogateescape") for text in (row.path, row.metadata))
    return Reference(row.prefix, path, metadata, row.connection)


def _value(row: _Row) -> Value:
    lease = None if row.lease is None else Lease(*row.lease)
    return Value(Secret(row.data), DocumentFormat(row.format), row.version, row.ttl, lease)


def _read(path: Path, most: int) -> bytes | None:
    """The file's bytes; None when there is none. Raises SealBroken unless it is this user's, and for nobody else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SealBroken(f"it cannot be read: {os.strerror(error.errno or 0).lower()}") from None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise SealBroken("it is another user's, or others may read it")
        if status.st_size > most:
            raise SealBroken("it is too large")
        return file.readall()


def _boot() -> str:
    with suppress(OSError):
        return _BOOT_ID.read_text(encoding="ascii").strip()
    return ""
