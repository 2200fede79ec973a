"""From a rendered file and its settings to what `output` is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.output.publisher import PublishRequest

if TYPE_CHECKING:
    from pathlib import Path

    from injector.model.secret import Secret
    from injector.settings.schema import FileSettings


def publish_request(target: Path, data: Secret, own: FileSettings, *, root: Path | None) -> PublishRequest:
    """The request for one file: *target* below *root*, or any path without one."""
    return PublishRequest(target, data.reveal(), mode=own.mode, root=root)
