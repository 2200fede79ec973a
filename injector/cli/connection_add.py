"""`injector connection add`."""

from __future__ import annotations

import json
from typing import Any

import click

from injector.cli import connection_options, options
from injector.errors import UsageError


@click.command(
    epilog="""\b
Examples:
  injector connection add prod-eu --prefix AWSPARAMSTR --set region=eu-west-1 \\
    --set accessKeyId=AKIAEXAMPLE --secret secretAccessKey
  injector connection add dev --prefix AWSPARAMSTR --from-json dev.json
  pass show vault | injector connection add vault --prefix VAULT --secret-file token=-
"""
)
@click.argument("name")
@click.option("--prefix", metavar="PREFIX", help="Of the tokens that it is for, such as AWSPARAMSTR.")
@connection_options.field_options
@connection_options.store_options
@options.output_format
def command(
    name: str,
    prefix: str | None,
    set_: tuple[str, ...],
    secret: tuple[str, ...],
    secret_file: tuple[str, ...],
    from_json: str | None,
    output_format: str,
    **flags: Any,
) -> None:
    """
    Add a connection.

    Secrets come from a prompt, a file or standard input, never from the command line. The first connection makes the
    store and the master key.
    """
    store = connection_options.opened_store(flags, output_format=output_format)

    from injector.connections.connection import check_name, check_prefix  # late: start-up

    check_name(name)
    fields = connection_options.read_fields(set_=set_, secret=secret, secret_file=secret_file, from_json=from_json)
    prefix = prefix or fields.prefix
    if prefix is None:
        raise UsageError("for which tokens the connection is, is not said", hint="give it by --prefix, or in the JSON")
    has_key = store.key_file.exists()
    added = store.add(name, check_prefix(prefix), fields.settings, fields.secrets)
    if output_format == "json":
        click.echo(json.dumps({"schemaVersion": 1, **added.document()}, ensure_ascii=False))
        return
    click.echo(connection_options.told("added", added), err=True)
    if not has_key:
        click.echo(
            f"made the master key {store.key_file}: keep a copy of it, and not beside {store.path}; "
            "without it no connection opens",
            err=True,
        )
