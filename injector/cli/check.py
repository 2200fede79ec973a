"""`injector check`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from injector.cli import inspecting, options
from injector.errors import ExitCode, RunFailed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from injector.app.inspection import Inspection
    from injector.errors import InjectorError


@click.command(
    epilog="""\b
Examples:
  injector check templates/
  injector check --format github templates/     (annotations on a pull request)
  injector check --strict app.yml.tmpl          (warnings count, too)
"""
)
@inspecting.template_options
@click.option("--strict", is_flag=True, help="Exit with 3 for warnings as well.")
@options.output_format_of("text", "json", "github")
def command(
    inputs: tuple[str, ...],
    output_dir: Path | None,
    values: Path | None,
    output_format: str,
    strict: bool,  # noqa: FBT001  # click's way of a flag
    quiet: bool,  # noqa: FBT001
    verbose: int,
    **flags: Any,
) -> int:
    """
    Check templates, settings and plugins without asking any store.

    Reads the settings and every template as a render would: tokens that are written wrongly, prefixes that are nearly
    one, plugins that are missing, refused or not as locked. No plugin is started. Exit code 3 for what is wrong with
    settings or templates, 7 for plugins.
    """
    settings, log = options.load_settings(flags, output_format=output_format, quiet=quiet, verbose=verbose)
    inspection = inspecting.inspected(inputs, settings, log, output_dir=output_dir, values=values)
    match output_format:
        case "json":
            click.echo(json.dumps(_as_json(inspection), ensure_ascii=False))
        case "github":
            for line in _annotations(inspection):
                click.echo(line)
        case _:
            _print(inspection, quiet=quiet)
    if inspection.problems:
        return int(RunFailed(list(inspection.problems)).exit_code)
    return int(ExitCode.INVALID if strict and inspection.warnings else ExitCode.DONE)


def _print(inspection: Inspection, *, quiet: bool) -> None:
    from injector.cli import diagnostics  # late: start-up
    from injector.cli.terminal import counted, use_color

    color = use_color(sys.stderr)
    if inspection.warnings and not quiet:
        click.echo(diagnostics.warnings_as_text(inspection.warnings, color=color), err=True, color=True)
    if inspection.problems:
        text = diagnostics.as_text(RunFailed(list(inspection.problems)), color=color)
        click.echo(text, err=True, color=True)
    elif not quiet:
        tokens = sum(1 for _ in inspection.tokens)
        seen = f"{counted(len(inspection.files), 'template')}, {counted(tokens, 'token')}"
        click.echo(f"{seen}: no errors", err=True)


def _as_json(inspection: Inspection) -> dict[str, object]:
    """As documented in docs/output-format.md."""
    from injector.cli import diagnostics  # late: start-up

    return {
        "schemaVersion": 1,
        "templates": len(inspection.files),
        "tokens": sum(1 for _ in inspection.tokens),
        "errors": [diagnostics.fields(error, "error") for error in inspection.problems],
        "warnings": [diagnostics.fields(error, "warning") for error in inspection.warnings],
    }


def _annotations(inspection: Inspection) -> Iterable[str]:
    yield from (_annotation("error", error) for error in inspection.problems)
    yield from (_annotation("warning", error) for error in inspection.warnings)


def _annotation(command: str, error: InjectorError) -> str:
    """
    A workflow command of GitHub Actions: `::error file=…,line=…,col=…,title=…::message`.

    Source: docs.github.com, "Workflow commands for GitHub Actions", with the escapes of actions/toolkit's command.ts.
    """
    facts = {"title": error.code}
    if error.place is not None:
        facts = {"file": error.place.file, "line": str(error.place.line), "col": str(error.place.column)} | facts
    properties = ",".join(f"{name}={_escaped(text, ':,')}" for name, text in facts.items())
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    return f"::{command} {properties}::{_escaped(message)}"


def _escaped(text: str, more: str = "") -> str:
    return "".join(f"%{ord(char):02X}" if char in "%\r\n" + more else char for char in text)
