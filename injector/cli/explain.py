"""`injector explain`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from injector.cli import inspecting, options
from injector.errors import ExitCode, RunFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from injector.app.inspection import Inspected, Inspection
    from injector.errors import InjectorError
    from injector.model.template import Token


@click.command(
    epilog="""\b
Examples:
  injector explain app.yml.tmpl
  injector explain --format json templates/ | jq '.tokens[] | {file, line, permission}'
"""
)
@inspecting.template_options
@options.output_format
def command(
    inputs: tuple[str, ...],
    output_dir: Path | None,
    values: Path | None,
    output_format: str,
    quiet: bool,  # noqa: FBT001  # click's way of a flag
    verbose: int,
    **flags: Any,
) -> int:
    """
    Tell for each token what it stands for.

    Its place, what is asked of which backend and why that one answers, as whom, what happens when there is no such
    value, and what must be allowed. Nothing is started or asked.
    """
    settings, log = options.load_settings(flags, output_format=output_format, quiet=quiet, verbose=verbose)
    inspection = inspecting.inspected(inputs, settings, log, output_dir=output_dir, values=values)
    if output_format == "json":
        click.echo(json.dumps(_as_json(inspection), ensure_ascii=False))
    else:
        _print(inspection)
    if inspection.problems:
        raise RunFailed(list(inspection.problems))
    return int(ExitCode.DONE)


def facts(inspection: Inspection, file: Inspected, token: Token) -> dict[str, object]:
    """What there is to tell of a token, as documented in docs/output-format.md."""
    from injector.plan.permissions import permission  # late: start-up

    place = file.template.source.place(token.start, token.end)
    backend = inspection.backends[token.reference.prefix]
    allowed = permission(token.reference)
    told: dict[str, object] = {
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "token": file.template.text_of(token),
        "prefix": token.reference.prefix,
        "path": token.reference.path,
        "metadata": token.reference.metadata or None,
        "keys": token.keys,
        "backend": {
            "kind": backend.kind,
            "name": backend.name,
            "reason": backend.reason or None,
            "insteadOf": list(backend.instead_of) or None,
            "error": backend.error.message if backend.error else None,
        },
        "connection": token.reference.connection,
        "connectionError": refusal.message if (refusal := _refusal(inspection, token)) else None,
        "onMissing": _on_missing(file, token),
        "permission": {
            "provider": allowed.provider.value,
            "actions": list(allowed.actions),
            "resource": allowed.resource,
        }
        if allowed
        else None,
    }
    return {key: _without_nothing(value) for key, value in told.items() if value is not None}


def _without_nothing(value: object) -> object:
    return {key: inner for key, inner in value.items() if inner is not None} if isinstance(value, dict) else value


def _on_missing(file: Inspected, token: Token) -> str:
    if token.default is not None:
        return "default"
    return "empty" if token.optional else file.settings.on_missing.value


def _as_json(inspection: Inspection) -> dict[str, object]:
    return {"schemaVersion": 1, "tokens": [facts(inspection, file, token) for file, token in inspection.tokens]}


def _print(inspection: Inspection) -> None:
    from injector.cli.terminal import use_color  # late: start-up

    color = use_color(sys.stdout)
    for file, token in inspection.tokens:
        place = file.template.source.place(token.start, token.end)
        click.echo(
            click.style(f"{place}  {file.template.text_of(token)}", bold=True)
            if color
            else f"{place}  {file.template.text_of(token)}",
            color=True,
        )
        for label, text in _lines(inspection, file, token):
            click.echo(f"    {label:13}{text}")


def _refusal(inspection: Inspection, token: Token) -> InjectorError | None:
    return inspection.refused.get((token.reference.prefix, token.reference.connection or ""))


def _lines(inspection: Inspection, file: Inspected, token: Token) -> Iterator[tuple[str, str]]:
    from injector.plan.permissions import permission  # late: start-up

    reference = token.reference
    backend, refusal = inspection.backends[reference.prefix], _refusal(inspection, token)
    yield "asks for", str(reference) + (f", and takes {token.keys} of it" if token.keys is not None else "")
    if backend.error is not None:
        yield "answered by", f"nobody: {backend.error.message}"
    else:
        yield "answered by", f"{backend.name}: {backend.reason}"
    for other in backend.instead_of:
        yield "", f"instead of {other}"
    if refusal is not None:
        yield "as", f"nobody: {refusal.message}"
    else:
        yield "as", f"connection {reference.connection}" if reference.connection else "whoever the plugin is by itself"
    yield "if missing", _MISSING[_on_missing(file, token)] + (" (said by the token)" if _is_own(token) else "")
    allowed = permission(reference)
    if allowed is not None:
        yield "needs", f"{allowed.provider.value}: {allowed}"


def _is_own(token: Token) -> bool:
    return token.default is not None or token.optional


_MISSING = {
    "fail": "the render fails",
    "empty": "nothing is written",
    "keep": "the token stays as it is",
    "default": "a default is written",
}
