"""`injector status`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from injector.cli import control, options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@click.command()
@options.control_option
@options.config_option
@click.option("--timeout", metavar="DURATION", default="10s", show_default=True, help="How long to wait.")
@options.output_format
def command(timeout: str, output_format: str, **flags: Any) -> int:
    """
    Show what a running sidecar knows of its files, values and plugins.

    It is asked through its control socket. Values are never shown. Exit code 0 when it is ready, 1 when it is not.
    """
    document = control.ask(flags, "/status", method="GET", timeout=timeout, output_format=output_format)
    if output_format == "json":
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(document)))
    return 0 if document.get("ready") else 1


def _lines(document: dict[str, Any]) -> Iterator[str]:
    yield "ready" if document["ready"] else "not ready" if document["started"] else "not started yet"
    if document["settingsError"]:
        yield f"settings: {document['settingsError']}"
    rows = [("FILE", "STATE", "RENDERED", "OLDEST VALUE", "ERROR")]
    for file in document["files"]:
        ages = [token["age"] for token in file["tokens"] if token["age"] is not None]
        rendered = "never" if file["renderedAt"] is None else _ago(time.time() - file["renderedAt"])
        rows.append(
            (file["template"], file["state"], rendered, _ago(max(ages)) if ages else "-", _one_line(file["error"]))
        )
    yield from _table(rows)
    if document["plugins"]:
        plugins = [
            (one["name"], one["state"], str(one["starts"]), _one_line(one["lastError"])) for one in document["plugins"]
        ]
        yield ""
        yield from _table([("PLUGIN", "STATE", "STARTS", "LAST ERROR"), *plugins])
    if document["notifications"]:
        told = [
            (one["name"], one["kind"], str(one["failures"]), _one_line(one["error"]))
            for one in document["notifications"]
        ]
        yield ""
        yield from _table([("NOTIFICATION", "KIND", "FAILURES", "ERROR"), *told])


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit} ago"
    return f"{max(0.0, seconds):.0f}s ago"


def _one_line(text: str | None) -> str:
    return "" if text is None else "".join(char if char.isprintable() else " " for char in text)
