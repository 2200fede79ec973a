"""Options that several sub-commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from injector.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log

F = TypeVar("F", bound="Callable[..., Any]")
_FORMAT_KEY = "injector.output_format"


def _remember_format(context: click.Context, _: click.Parameter, value: str) -> str:
    context.meta[_FORMAT_KEY] = value
    return value


def chosen_format(context: click.Context) -> str:
    """What `--format` said, anywhere below *context*; `text` when nobody asked."""
    return str(context.meta.get(_FORMAT_KEY, "text"))


def output_format(function: F) -> F:
    """`--format text|json`, given to the function as `output_format`. Errors are printed in the same format."""
    decorate = click.option(
        "--format",
        "output_format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        envvar="INJECTOR_FORMAT",
        is_eager=True,
        callback=_remember_format,
        help="For people, or for programs. Errors follow it too.",
    )
    return decorate(function)


def settings_options(function: F) -> F:
    """The switches that stand for settings; each has an `INJECTOR_*` variable and a key in the settings file."""
    for decorate in reversed(
        [
            click.option(
                "--config",
                metavar="FILE",
                type=click.Path(path_type=Path),
                help="Settings file (YAML). [INJECTOR_CONFIG]",
            ),
            click.option(
                "--token-separator", metavar="TEXT", help="Between prefix and path; # for configmanager v2. [://]"
            ),
            click.option("--key-separator", metavar="CHAR", help="Between path and key path. [|]"),
            click.option(
                "--envsubst/--no-envsubst",
                default=None,
                help="Replace $NAME, ${NAME} and ${NAME:-default} first. [off]",
            ),
            click.option(
                "--on-missing",
                type=click.Choice(["fail", "empty", "keep", "default"]),
                default=None,
                help="When a store has no such value or key: report it, write nothing, leave the token, "
                "or write --default-value. [fail]",
            ),
            click.option("--default-value", metavar="TEXT", help="The text for --on-missing default."),
            click.option("--lax", is_flag=True, default=False, help="The same as --on-missing keep."),
            click.option(
                "--plugin-path",
                multiple=True,
                metavar="DIR",
                help="Search DIR for plugins, and nothing else but the installed ones. Repeatable.",
            ),
            click.option(
                "--plugin-lock-file",
                metavar="FILE",
                help="Hold plugins to the checksums in FILE. [injector.plugins.lock]",
            ),
            click.option(
                "--plugin-verify",
                type=click.Choice(["off", "locked", "required"]),
                default=None,
                help="Run plugins unchecked, checked if there is a lock file, or only with one. [locked]",
            ),
            click.option("--file-root", metavar="DIR", help="FILE:// tokens may not leave DIR."),
            click.option("--timeout", metavar="DURATION", help="For the whole run, such as 90s or 2m. [60s]"),
            click.option("--concurrency", metavar="N", type=int, help="Calls in flight for each backend. [64]"),
            click.option(
                "--file-format",
                metavar="NAME",
                help="What the output is (json, yaml, dotenv, plain, ...); values are escaped for it. [by extension]",
            ),
            click.option(
                "--escape",
                type=click.Choice(["auto", "raw"]),
                default=None,
                help="Spell values as the format wants it, or insert them as they are. [auto]",
            ),
            click.option(
                "--check",
                type=click.Choice(["auto", "off"]),
                default=None,
                help="Read rendered files back before they are published. [auto]",
            ),
            click.option("--mode", metavar="OCTAL", help="Permissions of written files. [0600]"),
        ]
    ):
        function = decorate(function)
    return function


def plugin_options(function: F) -> F:
    """The settings that say which plugins there are, for the commands that look at them and start none."""
    for decorate in reversed(
        [
            click.option(
                "--config",
                metavar="FILE",
                type=click.Path(path_type=Path),
                help="Settings file (YAML). [INJECTOR_CONFIG]",
            ),
            click.option(
                "--plugin-path",
                multiple=True,
                metavar="DIR",
                type=click.Path(file_okay=False),
                help="Search DIR, and nothing else but the installed plugins. Repeatable.",
            ),
            click.option(
                "--plugin-lock-file",
                metavar="FILE",
                type=click.Path(dir_okay=False),
                help="The lock file. [injector.plugins.lock beside the settings file, or here]",
            ),
        ]
    ):
        function = decorate(function)
    return function


def verbosity(function: F) -> F:
    """`-q` and `-v`, given to the function as `quiet` and `verbose`."""
    quiet = click.option("-q", "--quiet", is_flag=True, help="Errors only: no summary, no warnings, no progress.")
    verbose = click.option("-v", "--verbose", count=True, help="Log what is done; twice: what plugins log, too.")
    return quiet(verbose(function))


def load_settings(
    flags: Mapping[str, Any], *, output_format: str, quiet: bool = False, verbose: int = 0
) -> tuple[Settings, Log]:
    """
    The settings of this call (flag > variable > file > default), and the log that they ask for.

    *flags* are the values of `settings_options`. Raises SettingsError or RunFailed as `settings.load` does.
    """
    from injector.settings.load import load  # late: `injector version` needs none
    from injector.telemetry.logs import Level, Log

    given = dict(flags)
    path = config_path(given)
    given.pop("config", None)
    if given.pop("lax", False):
        if given.get("on_missing") not in (None, "keep"):
            raise UsageError(f"--lax means --on-missing keep, and --on-missing {given['on_missing']} was given")
        given["on_missing"] = "keep"
    settings = load(path=path, environ=os.environ, flags=given)
    level = Level[settings.log_level.upper()]
    if verbose:
        level = min(level, Level.INFO if verbose == 1 else Level.DEBUG)
    elif quiet:
        level = max(level, Level.ERROR)
    return settings, Log(level, as_json=settings.log_format == "json" or output_format == "json")


def config_path(flags: Mapping[str, Any]) -> Path | None:
    """The settings file of this call: `--config`, or INJECTOR_CONFIG; None when there is none."""
    path = flags.get("config") or os.environ.get("INJECTOR_CONFIG")
    return Path(path) if path else None
