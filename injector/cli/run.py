"""`injector run`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from injector.cli import options
from injector.errors import ExitCode, UsageError
from injector.process.termination import only_noted

if TYPE_CHECKING:
    from pathlib import Path

    from injector.settings.schema import Settings

DEFAULTS = {"log_level": "info"}
"""Of this command, in place of `Settings`' own: nobody looks at a sidecar but through its log."""


@click.command(
    epilog="""\b
Examples:
  injector run templates/ --output-dir /config --refresh 1m --listen :8080
  injector run templates/ --output-dir /config --prune --control /run/injector.sock
  injector run --config /etc/injector/injector.yaml
"""
)
@options.inputs_and_outputs
@options.settings_options
@options.refresh_options
@options.sidecar_options
@options.handover_option
@options.verbosity
def command(
    inputs: tuple[str, ...],
    output: str | None,
    output_dir: Path | None,
    quiet: bool,  # noqa: FBT001  # click's way of a flag
    verbose: int,
    **flags: Any,
) -> int:
    """
    Keep files rendered: watch templates, refresh values, tell the application.

    The sidecar: renders when it starts, when a template changes, every --refresh, on SIGHUP, and when asked on the
    --control socket. A file that cannot be rendered keeps its last good content; the others go on. SIGTERM ends it
    cleanly with exit code 0. What is told of changes stands in the settings file (notify).
    """
    import asyncio  # late: `injector --help` needs no event loop

    from injector.app.reconcile.request import SidecarRequest  # late: start-up
    from injector.app.running import run_sidecar

    path = options.config_path(flags)
    settings, log = options.load_settings(flags, output_format="text", quiet=quiet, verbose=verbose, defaults=DEFAULTS)
    chosen = options.choose(inputs, output, output_dir, settings)
    if chosen.to_stdout:
        raise UsageError("there is no output", hint="give --output-dir DIR or --output FILE")
    request = SidecarRequest(chosen.inputs, output_dir=chosen.output_dir, output=chosen.output)

    def load_again() -> Settings:
        return options.load_settings(flags, output_format="text", defaults=DEFAULTS)[0]

    with only_noted():
        asyncio.run(
            run_sidecar(
                request,
                settings,
                environment=os.environ,
                log=log,
                settings_path=path,
                load_settings=load_again if path is not None else None,
            )
        )
    return int(ExitCode.DONE)
