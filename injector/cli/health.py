"""`injector health`."""

from __future__ import annotations

import json
from typing import Any

import click

from injector.cli import options
from injector.errors import ExitCode, InjectorError, UsageError

_NO = ExitCode.DIFFERENT  # whatever the reason: a probe knows yes and no


@click.command(
    epilog="""\b
Examples:
  injector health --ready
  injector health --live --listen 127.0.0.1:8080 --timeout 2s
"""
)
@click.option("--live", "probe", flag_value="livez", default=True, help="Do all its workers complete their work?")
@click.option("--ready", "probe", flag_value="readyz", help="Is every required file rendered and fresh enough?")
@click.option("--startup", "probe", flag_value="startupz", help="Was every required file rendered once?")
@click.option(
    "--listen", metavar="HOST:PORT", help="Where the sidecar listens. [INJECTOR_LISTEN, or the settings file]"
)
@options.config_option
@click.option("--timeout", metavar="DURATION", default="5s", show_default=True, help="How long to wait for an answer.")
@options.output_format
def command(probe: str, timeout: str, output_format: str, **flags: Any) -> int:
    """
    Ask a running sidecar whether it is live, ready or started (exec probe).

    It is asked whether it is live unless another flag is given. Exit code 0 is yes, 1 is no or no answer; 2 and 3 are
    wrong flags and settings.
    """
    from injector.app.serving.client import ask  # late: start-up

    seconds = options.duration_of(timeout, "--timeout")
    settings, _ = options.load_settings(flags, output_format=output_format)
    if not settings.listen:
        raise UsageError("no address to ask", hint="give --listen, INJECTOR_LISTEN or --config")
    try:
        answer = ask(settings.listen, f"/{probe}", timeout=seconds)
    except InjectorError as error:
        passed, lines = False, [error.message]
    else:
        passed = answer.status == 200
        lines = [line for line in answer.body.decode("utf-8", "replace").splitlines() if line not in ("ok", "failed")]
    if output_format == "json":
        document = {"schemaVersion": 1, "probe": probe, "passed": passed, "reasons": lines}
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        click.echo("\n".join(["ok" if passed else "failed", *lines]))
    return int(ExitCode.DONE if passed else _NO)
