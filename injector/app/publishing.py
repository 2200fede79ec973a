"""From a rendered file and its settings to what `output` is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.model.policy import WriteMode
from injector.output.publisher import PublishRequest

if TYPE_CHECKING:
    from pathlib import Path

    from injector.model.secret import Secret
    from injector.output.sets import SetFile
    from injector.settings.schema import FileSettings


def publish_request(target: Path, data: Secret, own: FileSettings, *, root: Path | None) -> PublishRequest:
    """
    The request for one file: *target* below *root*, or any path without one.

    Raises AccountUnknown for an owner or a group that this machine does not know.
    """
    owner, group = _ids(own)
    # A set is more than one file: on its own, one is written like any other.
    write = WriteMode.IN_PLACE if own.write is WriteMode.IN_PLACE else WriteMode.RENAME
    return PublishRequest(target, data.reveal(), mode=own.mode, root=root, owner=owner, group=group, write=write)


def set_file(target: Path, data: Secret, own: FileSettings) -> SetFile:
    """One file of a set, *target* below its directory. Raises AccountUnknown as `publish_request` does."""
    from injector.output.sets import SetFile  # late: start-up; few write sets

    owner, group = _ids(own)
    return SetFile(target.as_posix(), data.reveal(), mode=own.mode, owner=owner, group=group)


def _ids(own: FileSettings) -> tuple[int | None, int | None]:
    if not own.owner and not own.group:
        return None, None
    from injector.output.accounts import group_id, user_id  # late: start-up; most files are the process's own

    return user_id(own.owner) if own.owner else None, group_id(own.group) if own.group else None
