"""`injector exec`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from injector.cli import options
from injector.errors import UsageError
from injector.process.termination import only_noted

if TYPE_CHECKING:
    from injector.app.rendering import RenderRequest
    from injector.cli.options import Chosen


_ARGV = "injector.exec.argv"


class _ExecCommand(click.Command):
    """Templates stand before `--`, the command behind it, untouched."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        head, tail = (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, [])
        ctx.meta[_ARGV] = tuple(tail)
        return super().parse_args(ctx, head)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "-- COMMAND [ARGUMENT]..."]


@click.command(
    cls=_ExecCommand,
    epilog="""\b
Examples:
  injector exec --env-template app.env -- ./server --port 8080
  injector exec --env-template app.env --on-change restart --refresh 1m -- ./server
  injector exec templates/ --output-dir /run/config --on-change signal:HUP -- nginx -g 'daemon off;'
""",
)
@options.inputs_and_outputs
@click.option(
    "--env-template",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Variables for the command, in dotenv syntax; tokens in their values are resolved.",
)
@click.option(
    "--on-change",
    metavar="ACTION",
    default="none",
    show_default=True,
    help="When a value changes: restart, signal:HUP (or another), or none. All but none refresh, every 5m by default.",
)
@click.option("--grace", metavar="DURATION", default="10s", show_default=True, help="From SIGTERM to SIGKILL.")
@options.settings_options
@options.refresh_options
@options.verbosity
def command(
    inputs: tuple[str, ...],
    output: str | None,
    output_dir: Path | None,
    env_template: Path | None,
    on_change: str,
    grace: str,
    quiet: bool,  # noqa: FBT001  # click's way of a flag
    verbose: int,
    **flags: Any,
) -> int:
    """
    Run a command with resolved variables in its environment.

    The command gets this environment and the variables of --env-template, each exactly its secret, and finds the
    files of --template written. With --on-change none and without --refresh it takes this process's place and costs
    nothing more. Otherwise it is a child: it has the terminal, gets the signals, and its exit code is passed on.
    """
    import asyncio  # late: `injector --help` needs no event loop

    from injector.app import executing  # late: start-up

    argv: tuple[str, ...] = click.get_current_context().meta[_ARGV]
    if not argv:
        raise UsageError("there is no command to run", hint="write it behind --: injector exec -- COMMAND")
    try:
        action, number = executing.parse_on_change(on_change)
    except ValueError:
        raise UsageError("--on-change: expected restart, signal:NAME or none") from None
    refresh = None if action is executing.OnChange.NONE else 300.0
    settings, log = options.load_settings(
        flags, output_format="text", quiet=quiet, verbose=verbose, defaults={"refresh": refresh}
    )
    chosen = options.choose(inputs, output, output_dir, settings, optional=True)
    request = executing.ExecRequest(
        argv, env_template, _files(chosen), on_change=action, signal=number, grace=_seconds(grace)
    )
    executing.program_of(request, os.environ)  # one that is not there is told before any backend is asked
    supervised = executing.needs_supervision(request, settings)
    work: Any = executing.supervise if supervised else executing.prepare
    try:
        with only_noted():
            answer = asyncio.run(work(request, settings, environment=os.environ, log=log))
    except asyncio.CancelledError:  # SIGTERM before the command was started: everything is cleaned up by now
        return 128 + signal.SIGTERM
    if supervised:
        return int(answer)
    executing.take_place(request, answer)
    raise AssertionError("a process that was replaced is gone")


def _files(chosen: Chosen) -> RenderRequest | None:
    from injector.app.rendering import RenderRequest  # late: start-up

    if not chosen.inputs:
        if not chosen.to_stdout:
            raise UsageError("there is an output, and no template for it")
        return None
    if chosen.to_stdout:
        raise UsageError("there is no output for the templates", hint="give --output-dir DIR or --output FILE")
    single = chosen.output_dir is None
    return RenderRequest(chosen.inputs, output=chosen.output, output_dir=chosen.output_dir, single=single)


def _seconds(grace: str) -> float:
    from injector.settings import kinds  # late: start-up

    try:
        return kinds.duration(grace)
    except ValueError:
        raise UsageError(f"--grace: expected {kinds.DURATION.expects}") from None
