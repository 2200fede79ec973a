"""`injector plugin call`."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from injector.cli import options

if TYPE_CHECKING:
    from injector.model.references import Reference


@click.command(
    epilog="""\b
Examples:
  injector plugin call awsparamstr /app/db
  injector plugin call awsparamstr /app/db --metadata version=3 -vv
"""
)
@click.argument("name")
@click.argument("token")
@click.option("--metadata", metavar="TEXT", default="", help="What stands between the brackets of a token.")
@click.option("--connection", metavar="NAME", help="The connection to use.", shell_complete=options.complete_connection)
@click.option("--config", metavar="FILE", type=click.Path(), help="Settings file (YAML). [INJECTOR_CONFIG]")
@click.option(
    "--plugin-path", multiple=True, metavar="DIR", help="Search DIR, and nothing else but the installed plugins."
)
@options.output_format
@options.verbosity
def command(
    name: str,
    token: str,
    metadata: str,
    connection: str | None,
    output_format: str,
    quiet: bool,  # noqa: FBT001  # click's way of a flag
    verbose: int,
    **flags: Any,
) -> int:
    """
    Ask one plugin for one value, and print it.

    NAME is the prefix of its tokens, TOKEN what stands behind the separator. The plugin is started, asked once, and
    ended; -vv shows what it logs. The value is printed as it is.
    """
    import asyncio  # late: start-up

    started = time.monotonic()
    settings, log = options.load_settings(flags, output_format=output_format, quiet=quiet, verbose=verbose)

    from injector.app.calling import call_plugin  # late: start-up
    from injector.model.references import Reference

    reference = Reference(name.upper(), token, metadata, connection)
    try:
        value, backend = asyncio.run(call_plugin(reference, settings, environment=os.environ, log=log))
    except asyncio.CancelledError:  # SIGTERM: everything is cleaned up by now
        return 128 + signal.SIGTERM
    data = value.data.reveal()
    if output_format == "json":
        click.echo(_as_json(reference, backend, data, time.monotonic() - started))
    else:
        click.echo(data, nl=sys.stdout.isatty())
    return 0


def _as_json(reference: Reference, backend: str, data: bytes, seconds: float) -> str:
    """As documented in docs/output-format.md."""
    import base64
    import json

    try:
        content = {"value": data.decode(), "encoding": "utf-8"}
    except UnicodeDecodeError:
        content = {"value": base64.b64encode(data).decode("ascii"), "encoding": "base64"}
    answer = {"prefix": reference.prefix, "path": reference.path, "metadata": reference.metadata, "backend": backend}
    return json.dumps({"schemaVersion": 1, **answer, **content, "seconds": round(seconds, 3)}, ensure_ascii=False)
