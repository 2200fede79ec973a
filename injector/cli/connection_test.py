"""`injector connection test`."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import click

from injector.cli import connection_options, options


@click.command()
@connection_options.name_argument
@click.option("--token", metavar="PATH", help="Ask for this value, too; what it is, is not printed.")
@click.option(
    "--plugin-path", multiple=True, metavar="DIR", help="Search DIR, and nothing else but the installed plugins."
)
@connection_options.store_options
@connection_options.directory_option
@options.output_format
@options.verbosity
def command(
    name: str,
    token: str | None,
    output_format: str,
    quiet: bool,  # noqa: FBT001  # click's way of a flag
    verbose: int,
    **flags: Any,
) -> int:
    """
    Give a connection to its plugin, and tell what happened.

    A plugin checks what it can without its store; with --token it has to ask it.
    """
    import asyncio  # late: start-up

    settings, log = options.load_settings(flags, output_format=output_format, quiet=quiet, verbose=verbose)

    from injector.app.connecting import try_connection  # late: start-up

    try:
        tested = asyncio.run(try_connection(name, token, settings, environment=os.environ, log=log))
    except asyncio.CancelledError:  # SIGTERM: everything is cleaned up by now
        return 128 + signal.SIGTERM
    if output_format == "json":
        answer = {"connection": name, "backend": tested.backend, "valueBytes": tested.value_size}
        click.echo(json.dumps({"schemaVersion": 1, **answer}, ensure_ascii=False))
    elif not quiet:
        click.echo(f"{tested.backend} took the connection {name}", err=True)
        if tested.value_size is not None:
            click.echo(f"and answered {token} with {tested.value_size} bytes", err=True)
        else:
            click.echo("whether its store does as well, --token PATH finds out", err=True)
    return 0
