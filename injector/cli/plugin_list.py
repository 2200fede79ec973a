"""`injector plugin list`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from injector.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from injector.backends.discovery import Candidate, SearchPath
    from injector.backends.verification import Verification


@click.command()
@options.plugin_options
@options.output_format
def command(output_format: str, **flags: Any) -> None:
    """
    List every plugin that is found, which one is used for its prefix, and why the others are not.

    No plugin is started.
    """
    settings, _ = options.load_settings(flags, output_format=output_format)

    from injector.app.build import attached_candidates, search_path, verification  # late: start-up
    from injector.backends.discovery import discover
    from injector.backends.registry import BUILTIN_PREFIXES

    search = search_path(settings, os.environ)
    found = discover(search)
    locks = _lock_states(found, verification(settings))
    candidates = [
        candidate
        for candidate in _in_order(attached_candidates(settings, os.environ), found)
        if candidate.prefix not in BUILTIN_PREFIXES
    ]
    if output_format == "json":
        click.echo(json.dumps(_as_json(search, candidates, sorted(BUILTIN_PREFIXES), locks), ensure_ascii=False))
        return
    for prefix in sorted(BUILTIN_PREFIXES):
        click.echo(f"{prefix:14} used      built in")
    for candidate in candidates:
        state, reason = _state(candidate)
        lock = f" [{locks[candidate.location]}]" if candidate.location in locks else ""
        click.echo(f"{candidate.prefix:14} {state:9} {candidate.location} ({candidate.origin}){lock}")
        if reason:
            click.echo(f"{'':25}{reason}")
    click.echo("\nsearched, in this order:", err=True)
    for place in search.places:
        missing = "" if place.directory.is_dir() else ", does not exist"
        click.echo(f"  {place.directory} ({place.reason}{missing})", err=True)
    click.echo("  installed packages (entry points, group injector.plugins)", err=True)


def _in_order(attached: Sequence[Candidate], found: Sequence[Candidate]) -> list[Candidate]:
    # By prefix, and those that run already before those that would be started.
    from msgspec.structs import replace

    winners = {candidate.prefix: candidate.location for candidate in attached}
    losers = [
        replace(candidate, loses_to=winners[candidate.prefix]) if candidate.prefix in winners else candidate
        for candidate in found
    ]
    return sorted([*attached, *losers], key=lambda candidate: candidate.prefix)


def _state(candidate: Candidate) -> tuple[str, str | None]:
    if candidate.loses_to is not None:
        return "shadowed", f"{candidate.loses_to} comes first"
    if candidate.refusal is not None:
        return "refused", " ".join(filter(None, [candidate.refusal.message, f"({candidate.refusal.hint})"]))
    return "used", None


def _lock_states(candidates: Sequence[Candidate], verification: Verification) -> dict[str, str]:
    """What the lock file says about each file, by location; nothing when there is no lock file."""
    if verification.lock_file is None:
        return {}
    from injector.app.plugin_lock import platform_of  # late: only with a lock file
    from injector.backends.discovery import Kind
    from injector.backends.verification import compare

    lock = verification.read()
    states = {}
    for candidate in candidates:
        path = Path(candidate.location)
        platform = None if candidate.kind is Kind.DISTRIBUTION else platform_of(path.name, candidate.name)
        if platform is not None:
            states[candidate.location] = compare(path, lock.get(candidate.name, platform))[0].value
    return states


def _as_json(
    search: SearchPath, candidates: Sequence[Candidate], builtins: Sequence[str], locks: dict[str, str]
) -> dict[str, object]:
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
        if candidate.location in locks:
            entry["lock"] = locks[candidate.location]
        plugins.append({**entry, "reason": reason} if reason else entry)
    places = [{"directory": str(place.directory), "reason": place.reason} for place in search.places]
    return {"schemaVersion": 1, "plugins": plugins, "searched": places}
