"""`injector connection list`."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from injector.cli import connection_options, options


@click.command()
@connection_options.store_options
@connection_options.directory_option
@options.output_format
def command(output_format: str, **flags: Any) -> None:
    """
    List all connections.

    Names, prefixes and settings; no seal is opened.
    """
    settings, _ = options.load_settings(flags, output_format=output_format)

    from injector.app.build import connection_source  # late: start-up

    summaries = connection_source(settings, os.environ).summaries()
    if output_format == "json":
        connections = [each.document() for each in summaries]
        click.echo(json.dumps({"schemaVersion": 1, "connections": connections}, ensure_ascii=False))
        return
    width = max((len(each.name) for each in summaries), default=0)
    for each in summaries:
        fields = [f"{field}={connection_options.printable(value)}" for field, value in sorted(each.settings.items())]
        fields += [f"{field}=***" for field in each.secret_fields]
        line = f"{each.name:{width}}  {each.prefix:14} {' '.join(fields)}"
        click.echo(connection_options.printable(line).rstrip())
    if not summaries:
        click.echo("there is no connection; `injector connection add` adds one", err=True)
