"""`injector schema`."""

from __future__ import annotations

import json

import click


@click.command(
    epilog="""\b
Example: completion and checks for settings files in an editor
  injector schema > injector.schema.json
  # yaml-language-server: $schema=injector.schema.json     (first line of the settings file)
"""
)
def command() -> None:
    """Print the JSON Schema of a settings file."""
    from injector.settings.json_schema import json_schema  # late: start-up

    click.echo(json.dumps(json_schema(), indent=2))
