"""The bytes of a module's file: what is checked here is what is compiled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from injector.backends.program_file import ProgramFile, mismatch, refused, unreadable

if TYPE_CHECKING:
    from injector.backends.discovery import Candidate

_LARGEST: Final = 256 << 20  # bytes


def read_module(candidate: Candidate) -> bytes:
    """
    The module that *candidate* stands for, read once.

    Raises PluginRefused when the file may not be used, PluginIntegrity when its bytes are not those of the pin.
    """
    path, name = Path(candidate.location), candidate.name
    try:
        with ProgramFile.open(path) as file:
            reason, hint = file.reason_against(None)
            if reason:
                raise refused(name, path, reason, hint)
            if file.size() > _LARGEST:
                raise refused(name, path, f"is larger than {_LARGEST} bytes", "is it the right file?")
            data = file.read()
    except OSError as error:
        raise unreadable(name, path, error) from None
    if candidate.pin is not None:
        from hashlib import sha256  # late: only with a lock file

        found = sha256(data).hexdigest()
        if found != candidate.pin.sha256:
            raise mismatch(name, path, expected=candidate.pin.sha256, found=found)
    return data
