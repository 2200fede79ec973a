"""`injector diff`."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from injector.cli import options
from injector.cli.one_pass import one_pass
from injector.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from injector.app.difference import Entry, FileDifference, Print
    from injector.app.rendering import RenderReport
    from injector.backends.builtin.recorded import Recorded
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log

_SHOWN = 100  # entries of one file, for people


@click.command(
    epilog="""\b
Examples:
  injector diff templates/ --output-dir config/
  injector diff app.yml.tmpl -o app.yml --values values.yaml
  injector diff --exit-code templates/ --output-dir config/ || injector render templates/ --output-dir config/
"""
)
@options.inputs_and_outputs
@click.option(
    "--values",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Values of FILE stand in for the stores, as in `injector render --values`.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 when anything would change.")
@click.option("--prune/--no-prune", default=None, help="Files of --output-dir that no template makes are removed.")
@options.settings_options
@options.output_format
@options.verbosity
def command(
    inputs: tuple[str, ...],
    output: str | None,
    output_dir: Path | None,
    values: Path | None,
    exit_code: bool,  # noqa: FBT001  # click's way of a flag
    output_format: str,
    quiet: bool,  # noqa: FBT001
    verbose: int,
    **flags: Any,
) -> int:
    """
    Tell what a render would change, without showing any value.

    Renders as `injector render` does, and compares with the files that are there: which keys hold something else, are
    new, or are gone. Values are shown as short hashes with their lengths; equal hashes are equal values, within one
    run. Nothing is written.
    """
    settings, log = options.load_settings(flags, output_format=output_format, quiet=quiet, verbose=verbose)
    chosen = options.choose(inputs, output, output_dir, settings)
    if chosen.to_stdout:
        raise UsageError("there is nothing to compare with", hint="name what was rendered: -o FILE or --output-dir DIR")

    from injector.app.difference import differences  # late: start-up

    recorded = options.recorded_values(settings, values=values, record=None, replay=None, recording_key=None)
    report = _rendered(chosen, settings, log, recorded, quiet=quiet)
    if report is None:
        return 128 + signal.SIGTERM
    found = differences(report.files, output_dir=chosen.output_dir, prune=settings.prune)
    different = any(file.state != "same" for file in found)
    if output_format == "json":
        click.echo(json.dumps(_as_json(found, report, different=different), ensure_ascii=False))
    else:
        _print(found, report, quiet=quiet)
    return int(ExitCode.DIFFERENT if different and exit_code else ExitCode.DONE)


def _rendered(
    chosen: options.Chosen, settings: Settings, log: Log, recorded: Recorded | None, *, quiet: bool
) -> RenderReport | None:
    """The finished files, none of them published; None after SIGTERM."""
    from injector.app.rendering import RenderRequest  # late: start-up

    request = RenderRequest(
        chosen.inputs,
        output=chosen.output,
        output_dir=chosen.output_dir,
        single=chosen.output_dir is None,
        publish=False,
    )
    return one_pass(request, settings, log, recorded=recorded, quiet=quiet)


# ---------------------------------------------------------------------------------------------------- for people

_SIGNS = {"same": " ", "new": "+", "removed": "-", "changed": "~", "formatting": "~", "mode": "~"}
_TONES = {"+": "green", "-": "red", "~": "yellow", " ": None}
_ENTRY_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def _print(found: Sequence[FileDifference], report: RenderReport, *, quiet: bool) -> None:
    from injector.cli.render import print_warnings  # late: start-up
    from injector.cli.terminal import use_color

    if not quiet:
        print_warnings(report.forgiven)
    color = use_color(sys.stdout)
    for file in found:
        if file.state != "same":
            for sign, line in _lines(file):
                click.echo(click.style(line, fg=_TONES[sign]) if color else line, color=True)
    if not quiet:
        click.echo(_summary(found), err=True)


def _lines(file: FileDifference) -> Iterator[tuple[str, str]]:
    sign = _SIGNS[file.state]
    yield sign, f"{sign} {file.output}: {_said(file)}"
    for entry in file.entries[:_SHOWN]:
        sign = _ENTRY_SIGNS[entry.change]
        yield sign, f"    {sign} {_entry(entry)}"
    if len(file.entries) > _SHOWN:
        yield " ", f"      and {len(file.entries) - _SHOWN} more (all with --format json)"


def _said(file: FileDifference) -> str:
    from injector.cli.terminal import counted  # late: start-up

    mode = f"mode {file.mode[0]:04o} becomes {file.mode[1]:04o}" if file.mode else ""
    match file.state:
        case "new":
            return f"new file, {counted(file.tokens, 'token')}"
        case "removed":
            return "no template makes it: it is removed"
        case "mode":
            return mode
        case "formatting":
            said = "formatting, comments or order only; every reader finds the same"
        case _:
            said = f"{counted(len(file.entries), 'change')}, {_COMPARED.get(file.compared) or f'as {file.compared}'}"
    return f"{said}; {mode}" if mode else said


_COMPARED = {"tokens": "in the values of its tokens", "lines": "line by line", "bytes": "byte by byte"}


def _entry(entry: Entry) -> str:
    if entry.unit == "line":
        return f"line {entry.line}: {entry.text}"
    where = f"bytes {entry.where}" if entry.unit == "bytes" else entry.where
    if entry.unit == "token":
        where = f"line {entry.line}, column {entry.column}, {entry.where}"
    before, after = entry.before, entry.after
    if before is not None and after is not None:
        with_kind = before.kind != after.kind
        return f"{where}: {_shown(before, with_kind=with_kind)} becomes {_shown(after, with_kind=with_kind)}"
    only = before or after
    return where if only is None else f"{where}: {_shown(only)}"


def _shown(value: Print, *, with_kind: bool = False) -> str:
    from injector.cli.terminal import counted  # late: start-up

    if value.entries is not None:
        return f"{value.hash} ({value.kind} of {counted(value.entries, 'entry', 'entries')})"
    kind = f"{value.kind}, " if with_kind else ""
    return f"{value.hash} ({kind}{counted(value.size, 'byte')})"


def _summary(found: Sequence[FileDifference]) -> str:
    from injector.cli.terminal import counted  # late: start-up

    states = {"changed": "changed", "formatting": "other formatting only", "mode": "other mode only", "new": "new"}
    states |= {"removed": "removed", "same": "the same"}
    numbers = {state: sum(1 for file in found if file.state == state) for state in states}
    parts = [f"{numbers[state]} {text}" for state, text in states.items() if numbers[state]]
    return f"{counted(len(found), 'file')}: {', '.join(parts)}" if parts else "no files"


# -------------------------------------------------------------------------------------------------- for programs


def _as_json(found: Sequence[FileDifference], report: RenderReport, *, different: bool) -> dict[str, object]:
    """As documented in docs/output-format.md."""
    from injector.cli import diagnostics  # late: start-up

    return {
        "schemaVersion": 1,
        "different": different,
        "files": [_file_as_json(file) for file in found],
        "warnings": [diagnostics.fields(error, "warning") for error in report.forgiven],
    }


def _file_as_json(file: FileDifference) -> dict[str, object]:
    fields: dict[str, object] = {"output": file.output, "state": file.state}
    if file.template:
        fields.update(template=file.template, tokens=file.tokens)
    if file.mode is not None:
        fields["mode"] = {"before": f"{file.mode[0]:04o}", "after": f"{file.mode[1]:04o}"}
    if file.compared:
        fields["comparedBy"] = file.compared
        fields["changes"] = [_entry_as_json(entry) for entry in file.entries]
    return fields


def _entry_as_json(entry: Entry) -> dict[str, object]:
    fields: dict[str, object] = {"change": entry.change}
    if entry.where:
        fields[entry.unit] = entry.where
    if entry.line:
        fields["line"] = entry.line
    if entry.column:
        fields["column"] = entry.column
    if entry.before is not None:
        fields["before"] = _print_as_json(entry.before)
    if entry.after is not None:
        fields["after"] = _print_as_json(entry.after)
    if entry.text is not None:
        fields["text"] = entry.text
    return fields


def _print_as_json(value: Print) -> dict[str, object]:
    fields: dict[str, object] = {"hash": value.hash, "kind": value.kind}
    fields.update({"bytes": value.size} if value.entries is None else {"entries": value.entries})
    return fields
