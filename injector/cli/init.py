"""`injector init`."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import click

from injector.cli import options
from injector.cli.render import show
from injector.errors import ExitCode, UsageError
from injector.process.termination import only_noted

if TYPE_CHECKING:
    from pathlib import Path

DEFAULTS = {"timeout": 300.0, "log_level": "info"}
"""Of this command, in place of `Settings`' own: it waits for backends that come up later, and says so."""


@click.command(
    epilog="""\b
Examples:
  injector init templates/ --output-dir /config
  injector init application.yml -o /config/application.yml --timeout 2m
  injector init --config /etc/injector/injector.yaml
"""
)
@options.inputs_and_outputs
@options.settings_options
@options.handover_option
@options.output_format
@options.verbosity
def command(
    inputs: tuple[str, ...],
    output: str | None,
    output_dir: Path | None,
    output_format: str,
    quiet: bool,  # noqa: FBT001  # click's way of a flag
    verbose: int,
    **flags: Any,
) -> int:
    """
    Render once before an application starts, waiting for what is not up yet.

    As `injector render`, for init containers: while all that fails may go away by itself (a backend that is down or
    throttles, a plugin that does not come up) it is tried again until --timeout (5m), with a line in the log each
    time. Anything else ends it at once. All files are written or none; the exit code tells why.
    """
    import asyncio  # late: `injector --help` needs no event loop

    started = time.monotonic()
    settings, log = options.load_settings(
        flags, output_format=output_format, quiet=quiet, verbose=verbose, defaults=DEFAULTS
    )
    chosen = options.choose(inputs, output, output_dir, settings)
    if chosen.to_stdout:
        raise UsageError("there is no output", hint="give --output-dir DIR or --output FILE")

    from injector.app.initial import render_until  # late: start-up
    from injector.app.rendering import RenderRequest

    single = chosen.output_dir is None
    request = RenderRequest(chosen.inputs, output=chosen.output, output_dir=chosen.output_dir, single=single)
    try:
        with only_noted():
            report = asyncio.run(render_until(request, settings, environment=os.environ, log=log))
    except asyncio.CancelledError:  # SIGTERM: everything is cleaned up by now
        return 128 + signal.SIGTERM
    show(report, started, to_stdout=False, output_format=output_format, quiet=quiet)
    return int(ExitCode.DONE)
