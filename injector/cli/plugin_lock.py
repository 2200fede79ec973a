"""`injector plugin lock`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from injector.cli import options
from injector.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from injector.app.plugin_lock import Change
    from injector.backends.lockfile import LockEntry


@click.command(
    epilog="""\b
Examples:
  injector plugin lock
  injector plugin lock --keep            with the files of this platform only
  injector plugin lock --check           in CI: exit code 1 when it is not up to date
"""
)
@options.plugin_options
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Update FILE. [the lock file that holds, or injector.plugins.lock beside the settings file, or here]",
)
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 when the lock file is not up to date.")
@click.option("--keep", is_flag=True, help="Keep the entries whose file is not here, such as those of other platforms.")
@options.output_format
def command(output_format: str, output: Path | None, check: bool, keep: bool, **flags: Any) -> int:  # noqa: FBT001  # click's way of flags
    """
    Write the lock file: the checksums of all plugin files that are found.

    Files of every platform are taken, not only of this one. From then on a plugin whose file differs, or is not in
    the lock file, is not started. Look at what changed before you commit it.
    """
    settings, _ = options.load_settings(flags, output_format=output_format)

    from injector.app import plugin_lock  # late: start-up
    from injector.app.build import search_path, verification
    from injector.backends.lockfile import Lock, read_lock
    from injector.settings.schema import LOCK_FILE_NAME

    policy = verification(settings)
    config = options.config_path(flags)
    default = config.parent / LOCK_FILE_NAME if config is not None else policy.places[0]
    target = output or policy.lock_file or default
    there = os.path.lexists(target)
    before = read_lock(target) if there else Lock({})
    after = plugin_lock.lock_files(search_path(settings, os.environ), before, keep=keep)
    changes = plugin_lock.changes(before, after)
    current = there and not changes
    if not check and not current:
        plugin_lock.write_lock(target, after)
    if output_format == "json":
        click.echo(json.dumps(_as_json(target, changes, current=current, written=not check and not current)))
    else:
        _print(target, changes, len(after.entries), current=current, check=check)
    return int(ExitCode.DIFFERENT if check and not current else ExitCode.DONE)


def _print(target: Path, changes: Sequence[Change], count: int, *, current: bool, check: bool) -> None:
    for change in changes:
        checksums = " -> ".join(entry.sha256[:12] for entry in (change.before, change.after) if entry is not None)
        click.echo(f"{change.what:8} {change.name} {change.platform} {checksums}")
    files = f"{count} plugin file{'' if count == 1 else 's'}"
    if current:
        click.echo(f"{target} is up to date: {files}", err=True)
    elif check:
        click.echo(f"{target} is not up to date; `injector plugin lock` writes it", err=True)
    else:
        click.echo(f"wrote {target}: {files}", err=True)


def _as_json(target: Path, changes: Sequence[Change], *, current: bool, written: bool) -> dict[str, object]:
    """As documented in docs/output-format.md."""
    return {
        "schemaVersion": 1,
        "lockFile": str(target),
        "upToDate": current or written,
        "written": written,
        "changes": [change_as_json(change) for change in changes],
    }


def change_as_json(change: Change) -> dict[str, object]:
    """A change of the lock file, as documented in docs/output-format.md."""
    facts: dict[str, object] = {"change": change.what, "name": change.name, "platform": change.platform}
    for key, entry in (("before", change.before), ("after", change.after)):
        if entry is not None:
            facts[key] = _entry(entry)
    return facts


def _entry(entry: LockEntry) -> dict[str, object]:
    facts: dict[str, object] = {"sha256": entry.sha256, "size": entry.size}
    return facts if entry.source is None else {**facts, "source": entry.source}
