"""
The command `injector`: finds the sub-command, runs it, and turns what it raises into text and an exit code.

Sub-commands are imported when they are asked for: `injector version` must not pay for gRPC.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import click

import injector
from injector.cli import options
from injector.cli.lazy import LazyGroup
from injector.errors import ExitCode, InjectorError, OutputError
from injector.process.hardening import frames, harden, make_streams_safe
from injector.process.termination import Terminated, terminable

if TYPE_CHECKING:
    from collections.abc import Sequence

# Name of the sub-command to the module that holds it (as `command`) and its short help. The help is repeated here so
# that `injector --help` imports none of them; a test holds the two equal.
COMMANDS = {
    "render": ("injector.cli.render", "Resolve the tokens of config templates and write the finished files."),
    "check": ("injector.cli.check", "Check templates, settings and plugins without asking any store."),
    "explain": ("injector.cli.explain", "Tell for each token what it stands for."),
    "plan": ("injector.cli.plan", "Tell how many calls a render makes, what they cost, and when stores refuse them."),
    "diff": ("injector.cli.diff", "Tell what a render would change, without showing any value."),
    "iam-policy": ("injector.cli.iam_policy", "Print the least access policy for a set of templates."),
    "init": ("injector.cli.init", "Render once before an application starts, waiting for what is not up yet."),
    "run": ("injector.cli.run", "Keep files rendered: watch templates, refresh values, tell the application."),
    "exec": ("injector.cli.exec", "Run a command with resolved variables in its environment."),
    "deliver": (
        "injector.cli.deliver",
        "Write a program that sets variables from rendered files, for containers of any image.",
    ),
    "health": ("injector.cli.health", "Ask a running sidecar whether it is live, ready or started (exec probe)."),
    "status": ("injector.cli.status", "Show what a running sidecar knows of its files, values and plugins."),
    "refresh": ("injector.cli.refresh", "Make a running sidecar ask for all values now."),
    "ui": ("injector.cli.ui", "Show a sidecar and the connections in a browser, on this machine only."),
    "doctor": ("injector.cli.doctor", "Say what is wrong with a pod or a cluster, and what to do."),
    "webhook": ("injector.cli.webhook", "Serve the admission webhook that adds the sidecar to pods."),
    "plugin": ("injector.cli.plugin", "See, pin, check, install, compile, write, build and call plugins."),
    "connection": ("injector.cli.connection", "Keep credentials and settings of backends under names, encrypted."),
    "schema": ("injector.cli.schema", "Print the JSON Schema of a settings file."),
    "version": ("injector.cli.version", "Print the version and what it was built with."),
    "completion": ("injector.cli.completion", "Print the completion script for a shell."),
}

EPILOG = """\b
Exit codes:
  0 done, 1 not up to date      6 access denied
  2 wrong usage                 7 a plugin failed
  3 template/settings invalid   8 a rendered file failed its check
  4 value or key missing        9 output not writable
  5 backend unavailable        10 done with stale values
  126 the command of exec cannot be run, 127 it is not found
"""

# Not one of the documented answers: the program itself is wrong (EX_SOFTWARE of sysexits.h).
INTERNAL_ERROR = 70
NO_MEMORY = 71  # EX_OSERR


COMPLETE_VARIABLE = "_INJECTOR_COMPLETE"  # set by the scripts that `injector completion` prints


@click.command(cls=LazyGroup, lazy=COMMANDS, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(injector.__version__, prog_name="injector", message="%(prog)s %(version)s")
def cli() -> None:
    """
    Puts secrets into config files: resolves tokens such as AWSPARAMSTR:///app/db|password in templates through
    plugins, and writes the finished files.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `injector` with *argv* (default: the process's) and gives the exit code."""
    instruction = os.environ.get(COMPLETE_VARIABLE)
    if instruction:
        from click.shell_completion import shell_complete  # late: only for the shell's Tab key

        return shell_complete(cli, {}, "injector", COMPLETE_VARIABLE, instruction)
    arguments = list(sys.argv[1:] if argv is None else argv)
    with terminable():
        try:
            if argv is None:  # a process of its own, not a call from a test
                make_streams_safe()
                harden()
            code = _run(arguments)
        except Terminated as error:
            code = 0 if arguments[:1] == ["run"] else 128 + error.signal
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        code = 128 + signal.SIGPIPE
    except OSError as error:
        _silence_stdout()
        code = code or report(OutputError.of_stdout(error), as_json=False)
    return code


def _run(arguments: list[str]) -> int:
    output_format = "text"
    try:
        with cli.make_context("injector", arguments) as context:
            try:
                answer = cli.invoke(context)
            finally:
                output_format = options.chosen_format(context)
    except InjectorError as error:
        return report(error, as_json=output_format == "json")
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return int(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _silence_stdout()
        return 128 + signal.SIGPIPE
    except Exception as error:  # noqa: BLE001  # the outermost border
        return _report_no_memory() if _is_lack_of_memory(error) else report_defect(error)
    return answer if isinstance(answer, int) else 0


def report(error: InjectorError, *, as_json: bool) -> int:
    """Prints *error* to standard error, and gives its exit code."""
    from injector.cli import diagnostics  # late: only when something went wrong
    from injector.cli.terminal import use_color

    if as_json:
        click.echo(diagnostics.as_json(error), err=True)
    else:
        click.echo(diagnostics.as_text(error, color=use_color(sys.stderr)), err=True, color=True)
    return int(error.exit_code)


def _is_lack_of_memory(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_lack_of_memory(one) for one in error.exceptions)
    return isinstance(error, MemoryError)


def _report_no_memory() -> int:
    click.echo("error: there is no more memory for this", err=True)
    click.echo("  = help: raise the limit, or render fewer or smaller files at a time", err=True)
    return NO_MEMORY


def report_defect(error: BaseException) -> int:
    """
    Tells of a fault of ours, without the error's text: it may hold a value that was being worked on.

    The frames are files and lines of the program, never data.
    """
    click.echo(f"internal error: {type(error).__qualname__} (a fault of injector, please report it)", err=True)
    for frame in reversed(frames(error.__traceback__)):
        click.echo(f"  {frame}", err=True)
    return INTERNAL_ERROR


def _silence_stdout() -> None:
    # The reader has gone (`injector … | head`): nothing may be written at exit either.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
