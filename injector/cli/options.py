"""Options that several sub-commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

import click

from injector.errors import InjectorError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from injector.backends.builtin.recorded import Recorded
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log

F = TypeVar("F", bound="Callable[..., Any]")
_FILE = click.Path(path_type=Path, dir_okay=False)
_FORMAT_KEY = "injector.output_format"


def options_of(*decorators: Callable[[Any], Any]) -> Callable[[F], F]:
    """One decorator of several options and arguments, which stand in the help in this order."""

    def decorate(function: F) -> F:
        decorated: Any = function
        for each in reversed(decorators):
            decorated = each(decorated)
        return cast("F", decorated)

    return decorate


def _remember_format(context: click.Context, _: click.Parameter, value: str) -> str:
    context.meta[_FORMAT_KEY] = value
    return value


def chosen_format(context: click.Context) -> str:
    """What `--format` said, anywhere below *context*; `text` when nobody asked."""
    return str(context.meta.get(_FORMAT_KEY, "text"))


def output_format_of(*formats: str) -> Callable[[F], F]:
    """`--format`, one of *formats* (the first is the default), given as `output_format`. Errors follow it, too."""

    def decorate(function: F) -> F:
        option = click.option(
            "--format",
            "output_format",
            type=click.Choice(formats),
            default=formats[0],
            show_default=True,
            envvar="INJECTOR_FORMAT",
            is_eager=True,
            callback=_remember_format,
            help="For people, or for programs. Errors follow it too.",
        )
        return option(function)

    return decorate


def output_format(function: F) -> F:
    """`--format text|json`, given to the function as `output_format`. Errors are printed in the same format."""
    return output_format_of("text", "json")(function)


class Chosen(NamedTuple):
    """What is read, and where its results go: `output`, `output_dir`, or standard output when both are None."""

    inputs: tuple[str, ...]
    output: Path | None
    output_dir: Path | None

    @property
    def to_stdout(self) -> bool:
        return self.output is None and self.output_dir is None


inputs_and_outputs = options_of(
    click.argument("inputs", nargs=-1, metavar="[FILE|DIR|-]..."),
    click.option("-o", "--output", metavar="FILE", help="Write the one rendered file here; - is standard output."),
    click.option(
        "--output-dir",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Write below DIR, with the tree of the input directories; a trailing .tmpl, .tpl or .cm is dropped.",
    ),
)
"""The templates and where their results go, given to the function as `inputs`, `output` and `output_dir`."""


def choose(
    inputs: Sequence[str], output: str | None, output_dir: Path | None, settings: Settings, *, optional: bool = False
) -> Chosen:
    """
    Inputs and output of the command line, or those of the settings where the command line names none.

    Raises UsageError when they contradict each other, and, unless *optional*, when there are no inputs.
    """
    if output is not None and output_dir is not None:
        raise UsageError("--output and --output-dir exclude each other", hint="leave one of them away")
    named = tuple(inputs) or tuple(map(str, settings.inputs))
    if not named and not optional:
        raise UsageError("there is no template to render", hint="name files, directories, or - for standard input")
    if named.count("-") > 1:
        raise UsageError("standard input (-) can be read once only")
    if output is not None:
        return Chosen(named, None if output == "-" else Path(output), None)
    if output_dir is not None:
        return Chosen(named, None, output_dir)
    if settings.output is not None and settings.output_dir is not None:
        raise UsageError("the settings have both an output and an outputDir", hint="leave one of them away")
    return Chosen(named, settings.output, settings.output_dir)


def complete_connection(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The names of connections that begin with *incomplete*; none when they cannot be read."""
    from injector.app.build import connection_source  # late: only for the shell's Tab key

    try:
        settings, _log = load_settings({"config": context.params.get("config")}, output_format="text")
        names = [each.name for each in connection_source(settings, os.environ).summaries()]
    except InjectorError:
        return []  # the Tab key is no place for an error; the command itself tells of it
    return [name for name in names if name.startswith(incomplete)]


settings_options = options_of(
    click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Settings file (YAML). [INJECTOR_CONFIG]",
    ),
    click.option("--token-separator", metavar="TEXT", help="Between prefix and path; # for configmanager v2. [://]"),
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
    click.option(
        "--connection",
        metavar="NAME[,NAME]",
        help="For tokens that name no connection, one for each prefix.",
        shell_complete=complete_connection,
    ),
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
    click.option("--owner", metavar="USER", help="Of written files, by name or number. [the process's]"),
    click.option("--group", metavar="GROUP", help="Of written files, by name or number. [the process's]"),
    click.option(
        "--write",
        type=click.Choice(["rename", "in-place", "set"]),
        default=None,
        help="Replace files, overwrite them (each a mount of its own), or switch all of --output-dir at once. [rename]",
    ),
)
"""The switches that stand for settings; each has an `INJECTOR_*` variable and a key in the settings file."""


refresh_options = options_of(
    click.option("--refresh", metavar="DURATION", help="Ask for values again this often; off: only when asked. [5m]"),
    click.option("--rescan", metavar="DURATION", help="Look at all templates this often without a reason. [30s]"),
    click.option("--debounce-min", metavar="DURATION", help="Take changes up when none came for so long. [100ms]"),
    click.option("--debounce-max", metavar="DURATION", help="Take changes up after this at the latest. [2s]"),
    click.option("--prune/--no-prune", default=None, help="Remove outputs whose templates are gone. [no-prune]"),
)
"""The switches of what renders again and again; each stands for a setting, as those of `settings_options` do."""


sidecar_options = options_of(
    click.option(
        "--on-error",
        type=click.Choice(["keep", "fail"]),
        default=None,
        help="When a refresh fails the last good file stays: as good, or as not ready. [keep]",
    ),
    click.option("--max-stale", metavar="DURATION", help="Not ready when a file is stale for longer. [off]"),
    click.option("--required/--optional", default=None, help="Whether files count for readiness. [required]"),
    click.option(
        "--notify",
        multiple=True,
        metavar="ACTION",
        help="When files changed: signal:HUP:process=NAME, signal:HUP:/PID/FILE, exec:COMMAND, http:URL or "
        "rollout:deployment/NAME. Repeatable.",
    ),
    click.option("--splay", metavar="DURATION", help="Notify after a random part of it. [off]"),
    click.option("--listen", metavar="HOST:PORT", help="Serve health, metrics and status there."),
    click.option("--control", metavar="SOCKET", help="Take requests for a refresh there."),
    click.option("--events/--no-events", default=None, help="Write Kubernetes Events about the pod. [no-events]"),
)
"""The switches of a sidecar beside `refresh_options`: what it tells others, and when it is ready."""


handover_option = click.option(
    "--handover",
    metavar="DIR",
    help="Where init leaves its values for the run that follows it, which then asks no store: a memory volume of "
    "the two alone.",
)
"""`--handover`, which `init` and the `run` after it have in common."""


values_options = options_of(
    click.option("--values", metavar="FILE", type=_FILE, help="Take values from FILE (YAML), not from stores."),
    click.option("--record", metavar="FILE", type=_FILE, help="Keep the values in FILE, sealed."),
    click.option("--replay", metavar="FILE", type=_FILE, help="Take the values that were kept in FILE."),
    click.option(
        "--recording-key",
        metavar="FILE",
        type=_FILE,
        envvar="INJECTOR_RECORDING_KEY",
        help="The key of --record (made when missing) and --replay. [INJECTOR_RECORDING_KEY]",
    ),
)
"""`--values`, `--record`, `--replay` and `--recording-key`; see `recorded_values`."""


def recorded_values(
    settings: Settings, *, values: Path | None, record: Path | None, replay: Path | None, recording_key: Path | None
) -> Recorded | None:
    """What `--values` or `--replay` hold; None for neither. Raises UsageError for what does not go together."""
    if sum(path is not None for path in (values, record, replay)) > 1:
        raise UsageError("--values, --record and --replay exclude each other", hint="leave all but one of them away")
    if recording_key is None and (record is not None or replay is not None):
        raise UsageError("--record and --replay need a key", hint="name its file with --recording-key")
    if values is not None:
        from injector.app.fixtures import read_fixtures  # late: start-up

        return read_fixtures(values, settings)
    if replay is not None and recording_key is not None:
        from injector.app.recording import read_recording  # late: start-up

        return read_recording(replay, recording_key)
    return None


plugin_options = options_of(
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
)
"""The settings that say which plugins there are, for the commands that look at them and start none."""


def config_option(function: F) -> F:
    """`--config`, for commands that take nothing else of the settings."""
    decorate = click.option(
        "--config", metavar="FILE", type=click.Path(path_type=Path), help="Settings file (YAML). [INJECTOR_CONFIG]"
    )
    return decorate(function)


def control_option(function: F) -> F:
    """`--control`, for commands that ask a running sidecar."""
    decorate = click.option(
        "--control",
        metavar="SOCKET",
        type=click.Path(path_type=Path),
        help="The sidecar's control socket. [INJECTOR_CONTROL, or the settings file]",
    )
    return decorate(function)


def duration_of(text: str, flag: str) -> float:
    """Seconds of the value of *flag*. Raises UsageError for what is no duration."""
    from injector.settings import kinds  # late: start-up

    try:
        return float(kinds.DURATION.parse(text))
    except ValueError:
        raise UsageError(f"{flag}: expected {kinds.DURATION.expects}") from None


def verbosity(function: F) -> F:
    """`-q` and `-v`, given to the function as `quiet` and `verbose`."""
    quiet = click.option("-q", "--quiet", is_flag=True, help="Errors only: no summary, no warnings, no progress.")
    verbose = click.option("-v", "--verbose", count=True, help="Log what is done; twice: what plugins log, too.")
    return quiet(verbose(function))


def load_settings(
    flags: Mapping[str, Any],
    *,
    output_format: str,
    quiet: bool = False,
    verbose: int = 0,
    defaults: Mapping[str, object] | None = None,
) -> tuple[Settings, Log]:
    """
    The settings of this call (flag > variable > file > default), and the log that they ask for.

    *defaults* are this command's own, by field. *flags* are the values of `settings_options`. Raises SettingsError or
    RunFailed as `settings.load` does.
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
    settings = load(path=path, environ=os.environ, flags=given, defaults=defaults)
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
