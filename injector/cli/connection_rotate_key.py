"""`injector connection rotate-key`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from injector.cli import connection_options, options
from injector.errors import UsageError


@click.command()
@click.option(
    "--new-key",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Seal with the key in FILE, and leave key files alone: for keys that are mounted.",
)
@click.option("--forget", is_flag=True, help="Do not keep the former key: old backups do not open any more.")
@connection_options.store_options
@options.output_format
def command(
    new_key: Path | None,
    forget: bool,  # noqa: FBT001  # click's way of a flag
    output_format: str,
    **flags: Any,
) -> None:
    """
    Seal all connections with a new master key.

    The former key stays beside the new one, since backups of the store open with nothing else. A rotation that was
    interrupted is finished by the next.
    """
    if new_key is not None and forget:
        raise UsageError("--new-key and --forget exclude each other")
    store = connection_options.opened_store(flags, output_format=output_format)
    done = store.rotate_key(new_key_file=new_key, forget=forget)
    if output_format == "json":
        former = None if done.former is None else str(done.former)
        answer = {"connections": done.connections, "key": done.key_id, "formerKeyFile": former}
        click.echo(json.dumps({"schemaVersion": 1, **answer}, ensure_ascii=False))
        return
    if done.key_id is None:
        click.echo("there is no connection, and so nothing to seal", err=True)
        return

    from injector.cli.terminal import counted  # late: start-up

    click.echo(f"sealed {counted(done.connections, 'connection')} with the master key {done.key_id}", err=True)
    if done.former is not None:
        click.echo(f"the former key is {done.former}: for backups of the store; remove it when you need none", err=True)
    if new_key is not None:
        click.echo(f"from now on the master key is that of {new_key}: name it in connections.masterKeyFile", err=True)
