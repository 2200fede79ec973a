"""`injector connection remove`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from injector.cli import connection_options, options
from injector.errors import UsageError


@click.command()
@connection_options.name_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options.store_options
@options.output_format
def command(
    name: str,
    yes: bool,  # noqa: FBT001  # click's way of a flag
    output_format: str,
    **flags: Any,
) -> None:
    """
    Remove a connection.

    Its secrets are overwritten in the store; backups of the store still have them, sealed.
    """
    store = connection_options.opened_store(flags, output_format=output_format)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask at", hint="give --yes")
        click.confirm(f"remove connection {name}?", abort=True, err=True)
    removed = store.remove(name)
    if output_format == "json":
        click.echo(json.dumps({"schemaVersion": 1, **removed.document()}, ensure_ascii=False))
    else:
        click.echo(connection_options.told("removed", removed), err=True)
