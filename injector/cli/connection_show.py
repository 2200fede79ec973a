"""`injector connection show`."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from injector.cli import connection_options, options


@click.command()
@connection_options.name_argument
@connection_options.store_options
@connection_options.directory_option
@options.output_format
def command(name: str, output_format: str, **flags: Any) -> None:
    """
    Show a connection, its secrets masked.

    It is opened with the master key, so this tells as well whether somebody changed it without.
    """
    settings, _ = options.load_settings(flags, output_format=output_format)

    from injector.app.build import connection_source  # late: start-up

    shown = connection_source(settings, os.environ).load(name).summary()
    if output_format == "json":
        click.echo(json.dumps({"schemaVersion": 1, **shown.document()}, ensure_ascii=False))
        return
    lines = {"name": shown.name, "prefix": shown.prefix, "id": shown.id, "version": str(shown.version)}
    lines |= {field: json.dumps(value, ensure_ascii=False) for field, value in sorted(shown.settings.items())}
    lines |= dict.fromkeys(shown.secret_fields, "***")
    width = max(map(len, lines))
    for field, text in lines.items():
        click.echo(connection_options.printable(f"{field:{width}}  {text}"))
