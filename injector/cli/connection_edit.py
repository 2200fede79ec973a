"""`injector connection edit`."""

from __future__ import annotations

import json
from typing import Any

import click

from injector.cli import connection_options, options
from injector.errors import UsageError


@click.command()
@connection_options.name_argument
@connection_options.field_options
@click.option("--unset", multiple=True, metavar="FIELD", help="Take a setting or a secret away.")
@click.option("--rename", metavar="NAME", help="Give it another name; tokens that name the old one will fail.")
@connection_options.store_options
@options.output_format
def command(
    name: str,
    set_: tuple[str, ...],
    secret: tuple[str, ...],
    secret_file: tuple[str, ...],
    from_json: str | None,
    unset: tuple[str, ...],
    rename: str | None,
    output_format: str,
    **flags: Any,
) -> None:
    """
    Change fields of a connection, or its name.

    What is not given stays as it is.
    """
    store = connection_options.opened_store(flags, output_format=output_format)
    fields = connection_options.read_fields(set_=set_, secret=secret, secret_file=secret_file, from_json=from_json)
    if fields.prefix is not None:
        raise UsageError("the prefix of a connection does not change", hint="add another connection")
    if not (fields.settings or fields.secrets or unset or rename):
        raise UsageError("there is nothing to change", hint="see --help")
    edited = store.edit(name, settings=fields.settings, secrets=fields.secrets, remove=unset, new_name=rename)
    if output_format == "json":
        click.echo(json.dumps({"schemaVersion": 1, **edited.document()}, ensure_ascii=False))
    else:
        click.echo(connection_options.told("changed", edited), err=True)
