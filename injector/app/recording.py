"""
Values of one render kept for another, sealed: `--record` where there is access to the stores, `--replay` where not.

The file is sealed as a whole with the key of a file of its own (connections/sealing.py): who has the one without the
other has nothing. Inside is msgpack: a list of [prefix, path, metadata, connection, format, value].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.backends.builtin.recorded import Recorded
from injector.connections import sealing
from injector.errors import InjectorError, SealBroken
from injector.model.references import DocumentFormat, Reference, Value
from injector.model.secret import Secret
from injector.output.publisher import PublishRequest, publish

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from injector.backends.contract import Outcome

_PURPOSE = b"injector recording 1"
_Row = tuple[str, str, str, str | None, str, bytes]


def write_recording(path: Path, key_file: Path, outcomes: Mapping[Reference, Outcome]) -> int:
    """
    Seals the values of *outcomes* into *path* (0600); a key file that is missing is made. Gives the number of values.

    References without a value are left out: a replay says that they are missing. Raises KeyFileInvalid, OutputError.
    """
    import msgspec  # late: the codecs

    if not key_file.exists():
        publish([PublishRequest(key_file, sealing.key_text(sealing.new_key()))])
    key = sealing.read_key(key_file)
    rows: list[_Row] = [
        (*reference, outcome.format.value, outcome.data.reveal())
        for reference, outcome in outcomes.items()
        if not isinstance(outcome, InjectorError)
    ]
    publish([PublishRequest(path, sealing.seal(key, msgspec.msgpack.encode(rows), _PURPOSE))])
    return len(rows)


def read_recording(path: Path, key_file: Path) -> Recorded:
    """What *path* holds. Raises KeyFileInvalid, and SealBroken for a file that is missing, changed, or no recording."""
    import msgspec  # late: the codecs

    key = sealing.read_key(key_file)
    try:
        sealed = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "it is no file").lower()
        raise SealBroken(f"the recording {path} cannot be read: {reason}", hint="correct --replay") from None
    try:
        rows = msgspec.msgpack.decode(sealing.unseal(key, sealed, _PURPOSE), type=list[_Row])
        outcomes: dict[Reference, Outcome] = {
            Reference(*row[:4]): Value(Secret(row[5]), format=DocumentFormat(row[4])) for row in rows
        }
    except (msgspec.DecodeError, ValueError):
        raise SealBroken(f"the recording {path} is of another version of injector") from None
    except SealBroken as error:
        raise SealBroken(f"{path}: {error.message}", hint=error.hint) from None
    return Recorded(outcomes, str(path))
