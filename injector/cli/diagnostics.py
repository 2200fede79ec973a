"""
Errors for people and for programs. The only place where one is formatted.

    application.yml:3:13: error: no parameter /app/db/password in eu-west-1 [value-not-found]
      3 |   password: AWSPARAMSTR:///app/db/password
        |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        = help: …

One cause that hits many tokens is told once, with all of its places. With `--format json` every error is one JSON
object on a line of its own (docs/output-format.md).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from injector.errors import RunFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from injector.errors import InjectorError, Place

# Places of one cause that are shown with their line; the rest are listed, none is left out.
SHOWN_IN_FULL = 5
_PLACES_A_LINE = 4


def as_text(error: InjectorError, *, label: str = "error", color: bool = False) -> str:
    """The whole report of *error*, several lines, without a trailing line break."""
    return "\n".join(_lines(flatten([error]), _Style(label, color=color)))


def warnings_as_text(errors: Iterable[InjectorError], *, color: bool = False) -> str:
    """Forgiven errors, as warnings."""
    return "\n".join(_lines(flatten(errors), _Style("warning", color=color)))


def as_json(error: InjectorError, *, severity: str = "error") -> str:
    """One JSON object a line for each single error."""
    return "\n".join(json.dumps(fields(single, severity), ensure_ascii=False) for single in flatten([error]))


def flatten(errors: Iterable[InjectorError]) -> list[InjectorError]:
    """The single errors, with every RunFailed opened."""
    flat: list[InjectorError] = []
    for error in errors:
        flat.extend(flatten(error.errors) if isinstance(error, RunFailed) else [error])
    return flat


def fields(error: InjectorError, severity: str) -> dict[str, object]:
    fields: dict[str, object] = {"severity": severity, "code": error.code, "message": error.message}
    if error.hint is not None:
        fields["hint"] = error.hint
    if error.place is not None:
        fields.update(file=error.place.file, line=error.place.line, column=error.place.column)
    if error.token is not None:
        fields["token"] = error.token
    fields["exitCode"] = int(error.exit_code)
    return fields


class _Style:
    """Colours, or none."""

    def __init__(self, label: str, *, color: bool) -> None:
        self._color = color
        tone = "red" if label == "error" else "yellow"
        self.noun = label
        self.label = click.style(f"{label}:", fg=tone, bold=True) if color else f"{label}:"
        self._tone = tone

    def mark(self, text: str) -> str:
        return click.style(text, fg=self._tone, bold=True) if self._color else text

    def dim(self, text: str) -> str:
        return click.style(text, dim=True) if self._color else text


def _lines(errors: list[InjectorError], style: _Style) -> Iterator[str]:
    groups: dict[tuple[str, str, str | None], list[InjectorError]] = {}
    for error in errors:
        groups.setdefault((error.code, error.message, error.hint), []).append(error)
    for group in groups.values():
        yield from _group(group, style)
    if len(errors) > 1:
        causes = "" if len(groups) == len(errors) else f" from {len(groups)} cause{'s' if len(groups) > 1 else ''}"
        yield style.dim(f"{len(errors)} {style.noun}s{causes}")


def _group(group: list[InjectorError], style: _Style) -> Iterator[str]:
    first = group[0]
    where = f"{first.place}: " if first.place else ""
    yield f"{where}{style.label} {_one_line(first.message)} {style.dim(f'[{first.code}]')}"
    margin = 5
    for index, error in enumerate(group[:SHOWN_IN_FULL]):
        if error.place is None:
            continue
        if index:
            yield f"{error.place}: the same"
        margin = max(margin, len(str(error.place.line)) + 2)
        yield from _excerpt(error.place, margin, style)
    if first.hint:
        yield f"{'':{margin}}{style.dim('=')} help: {_one_line(first.hint)}"
    rest = [str(error.place) for error in group[SHOWN_IN_FULL:] if error.place]
    for start in range(0, len(rest), _PLACES_A_LINE):
        yield f"{'':{margin}}{style.dim('=')} also at " + ", ".join(rest[start : start + _PLACES_A_LINE])


def _excerpt(place: Place, margin: int, style: _Style) -> Iterator[str]:
    if not place.excerpt:
        return
    yield f"{style.dim(f'{place.line:>{margin - 1}} |')} {place.excerpt}"
    yield f"{style.dim(f'{chr(32):>{margin - 1}} |')} {'':{place.caret}}{style.mark('^' * place.length)}"


def _one_line(text: str) -> str:
    return " ".join(text.split("\n"))
