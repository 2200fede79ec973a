"""`injector plugin call`."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from injector.cli import options
from injector.errors import UsageError

if TYPE_CHECKING:
    from injector.model.references import Reference


@click.command(
    epilog="""\b
Examples:
  injector plugin call awsparamstr /app/db
  injector plugin call awsparamstr /app/db --metadata version=3 -vv
  injector plugin call exchange list_markets --connection prod --input '{}'
"""
)
@click.argument("name")
@click.argument("token", metavar="TOKEN|EXPORT")
@click.option("--metadata", metavar="TEXT", default="", help="What stands between the brackets of a token.")
@click.option(
    "--input",
    "input_text",
    metavar="JSON",
    help="Call a WASM plugin's function EXPORT with JSON, `-` for standard input.",
)
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
    input_text: str | None,
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

    With --input, any function that a WASM plugin exports is called instead, in the same way: a fresh instance,
    configured by the connection.
    """
    import asyncio  # late: start-up

    started = time.monotonic()
    settings, log = options.load_settings(flags, output_format=output_format, quiet=quiet, verbose=verbose)

    from injector.app.calling import call_export, call_plugin  # late: start-up
    from injector.model.references import Reference

    reference = Reference(name.upper(), token, metadata, connection)
    try:
        if input_text is not None:
            export = call_export(
                reference.prefix,
                token,
                _input(input_text, metadata),
                settings,
                connection=connection,
                environment=os.environ,
                log=log,
            )
            data, backend = asyncio.run(export)
            _print_export(reference, backend, data, time.monotonic() - started, as_json=output_format == "json")
            return 0
        value, backend = asyncio.run(call_plugin(reference, settings, environment=os.environ, log=log))
    except asyncio.CancelledError:  # SIGTERM: everything is cleaned up by now
        return 128 + signal.SIGTERM
    data = value.data.reveal()
    if output_format == "json":
        click.echo(_as_json(reference, backend, data, time.monotonic() - started))
    else:
        click.echo(data, nl=sys.stdout.isatty())
    return 0


def _input(text: str, metadata: str) -> bytes:
    import json

    if metadata:
        raise UsageError("--metadata belongs to a token, and --input to an exported function")
    data = sys.stdin.buffer.read() if text == "-" else text.encode("utf-8", "surrogateescape")
    try:
        if data:
            json.loads(data)
    except (ValueError, RecursionError):
        raise UsageError("--input is not JSON", hint="""quote it for the shell: --input '{"limit": 5}'""") from None
    return data


def _print_export(reference: Reference, backend: str, data: bytes, seconds: float, *, as_json: bool) -> None:
    import json

    if not as_json:
        click.echo(data, nl=sys.stdout.isatty())
        return
    facts = {"prefix": reference.prefix, "export": reference.path, "backend": backend}
    answer = {"schemaVersion": 1, **facts, **_encoded(data, "output"), "seconds": round(seconds, 3)}
    click.echo(json.dumps(answer, ensure_ascii=False))


def _encoded(data: bytes, name: str) -> dict[str, str]:
    import base64

    try:
        return {name: data.decode(), "encoding": "utf-8"}
    except UnicodeDecodeError:
        return {name: base64.b64encode(data).decode("ascii"), "encoding": "base64"}


def _as_json(reference: Reference, backend: str, data: bytes, seconds: float) -> str:
    """As documented in docs/output-format.md."""
    import json

    answer = {"prefix": reference.prefix, "path": reference.path, "metadata": reference.metadata, "backend": backend}
    facts = {"schemaVersion": 1, **answer, **_encoded(data, "value"), "seconds": round(seconds, 3)}
    return json.dumps(facts, ensure_ascii=False)
