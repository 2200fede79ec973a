"""`injector refresh`."""

from __future__ import annotations

import json
from typing import Any

import click

from injector.cli import control, options


@click.command(
    epilog="""\b
Examples:
  injector refresh --control /run/injector/control
  injector refresh --no-wait
"""
)
@options.control_option
@options.config_option
@click.option("--wait/--no-wait", default=True, help="Wait until the files are written. [wait]")
@click.option("--timeout", metavar="DURATION", default="2m", show_default=True, help="How long to wait.")
@options.output_format
def command(wait: bool, timeout: str, output_format: str, **flags: Any) -> int:  # noqa: FBT001  # click's way of a flag
    """
    Make a running sidecar ask for all values now.

    It is asked through its control socket. Exit code 0 when no file failed.
    """
    path = "/refresh" if wait else "/refresh?wait=false"
    document = control.ask(flags, path, method="POST", timeout=timeout, output_format=output_format)
    if output_format == "json":
        click.echo(json.dumps(document, ensure_ascii=False))
    elif not wait:
        click.echo("asked for", err=True)
    else:
        parts = [
            f"{value} {key}" for key, value in document.items() if isinstance(value, int) and key != "schemaVersion"
        ]
        click.echo("refreshed: " + (", ".join(parts) or "nothing to do"), err=True)
    return 1 if document.get("failed") else 0
