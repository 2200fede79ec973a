"""`injector plugin list`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from injector.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from injector.backends.discovery import Candidate, SearchPath


@click.command()
@click.option("--config", metavar="FILE", type=click.Path(), help="Settings file (YAML). [INJECTOR_CONFIG]")
@click.option(
    "--plugin-path", multiple=True, metavar="DIR", help="Search DIR, and nothing else but the installed plugins."
)
@options.output_format
def command(output_format: str, **flags: Any) -> None:
    """
    List every plugin that is found, which one is used for its prefix, and why the others are not.

    No plugin is started.
    """
    settings, _ = options.load_settings(flags, output_format=output_format)

    from injector.app.build import search_path  # late: start-up
    from injector.backends.discovery import discover
    from injector.backends.registry import BUILTIN_PREFIXES

    search = search_path(settings, os.environ)
    candidates = [candidate for candidate in discover(search) if candidate.prefix not in BUILTIN_PREFIXES]
    if output_format == "json":
        click.echo(json.dumps(_as_json(search, candidates, sorted(BUILTIN_PREFIXES)), ensure_ascii=False))
        return
    for prefix in sorted(BUILTIN_PREFIXES):
        click.echo(f"{prefix:14} used      built in")
    for candidate in candidates:
        state, reason = _state(candidate)
        click.echo(f"{candidate.prefix:14} {state:9} {candidate.location} ({candidate.origin})")
        if reason:
            click.echo(f"{'':25}{reason}")
    click.echo("\nsearched, in this order:", err=True)
    for place in search.places:
        missing = "" if place.directory.is_dir() else ", does not exist"
        click.echo(f"  {place.directory} ({place.reason}{missing})", err=True)
    click.echo("  installed packages (entry points, group injector.plugins)", err=True)


def _state(candidate: Candidate) -> tuple[str, str | None]:
    if candidate.loses_to is not None:
        return "shadowed", f"{candidate.loses_to} comes first"
    if candidate.refusal is not None:
        return "refused", " ".join(filter(None, [candidate.refusal.message, f"({candidate.refusal.hint})"]))
    return "used", None


def _as_json(search: SearchPath, candidates: Sequence[Candidate], builtins: Sequence[str]) -> dict[str, object]:
    """As documented in docs/output-format.md."""
    plugins: list[dict[str, object]] = [{"prefix": prefix, "kind": "builtin", "state": "used"} for prefix in builtins]
    for candidate in candidates:
        state, reason = _state(candidate)
        entry: dict[str, object] = {
            "prefix": candidate.prefix,
            "kind": candidate.kind.value,
            "state": state,
            "location": candidate.location,
            "origin": candidate.origin,
        }
        plugins.append({**entry, "reason": reason} if reason else entry)
    places = [{"directory": str(place.directory), "reason": place.reason} for place in search.places]
    return {"schemaVersion": 1, "plugins": plugins, "searched": places}
