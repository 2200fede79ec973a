"""Rendered files to their places, as the settings of each say: how, with which mode, for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from injector.errors import UsageError
from injector.model.policy import WriteMode
from injector.output import publisher

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from injector.model.secret import Secret
    from injector.settings.schema import FileSettings


class Output(Struct, frozen=True):
    """One rendered file: its path below the output directory (or, without one, its path), and its settings."""

    target: Path
    data: Secret
    settings: FileSettings


def publish_outputs(outputs: Sequence[Output], root: Path | None) -> tuple[publisher.Published, ...]:
    """
    Publishes *outputs* below *root* (None: where their paths say), all or none; answers in their order.

    Raises AccountUnknown for an owner or group that is nobody, UsageError when some files are to be written as a set
    and others are not, or without a directory, and OutputError and its leaves as `output.publisher` and
    `output.sets` do.
    """
    as_set = [output for output in outputs if output.settings.write is WriteMode.SET]
    if as_set:
        if root is None or len(as_set) < len(outputs):
            raise UsageError(
                "`write: set` switches a whole output directory at once",
                hint="give --output-dir DIR, and the setting for all of its files",
            )
        return _publish_set(outputs, root)
    requests = []
    for output in outputs:
        owner, group = _ids(output.settings)
        requests.append(
            publisher.PublishRequest(
                output.target,
                output.data.reveal(),
                mode=output.settings.mode,
                root=root,
                owner=owner,
                group=group,
                write=output.settings.write,
            )
        )
    return publisher.publish(requests)


def _publish_set(outputs: Sequence[Output], root: Path) -> tuple[publisher.Published, ...]:
    from injector.output.sets import SetFile, publish_set  # late: few runs need it

    files = []
    for output in outputs:
        owner, group = _ids(output.settings)
        data = output.data.reveal()
        files.append(SetFile(str(output.target), data, mode=output.settings.mode, owner=owner, group=group))
    return publish_set(root, files)


def _ids(settings: FileSettings) -> tuple[int | None, int | None]:
    if not settings.owner and not settings.group:
        return None, None
    from injector.output.accounts import group_id, user_id  # late: few runs need it

    return (
        user_id(settings.owner) if settings.owner else None,
        group_id(settings.group) if settings.group else None,
    )
