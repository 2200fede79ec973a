"""The errors of one template, gathered so that its author sees them all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.errors import TemplateError
from injector.model.template import Template, Text

if TYPE_CHECKING:
    from injector.model.template import Source

MAX_PROBLEMS = 100
"""Errors told per template, each with its place; of further ones only the number is."""

_SHOWN = 200  # bytes of a token that a message shows; a token that never ends may be the rest of the file


class Problems:
    """Places errors in their source, as they are found; keeps the first MAX_PROBLEMS and counts the others."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._template = Template(source, ())
        self._kept: list[TemplateError] = []
        self._beyond: tuple[int, int] | None = None
        self._more = 0

    def add(self, error: TemplateError, start: int, end: int) -> None:
        """Takes an error about `data[start:end]`."""
        if len(self._kept) < MAX_PROBLEMS:
            self._kept.append(self._placed(error, start, end))
            return
        self._beyond = self._beyond or (start, end)
        self._more += 1

    def found(self) -> tuple[TemplateError, ...]:
        """The errors in the order of the text; the last one says how many are not told, if there are any."""
        if self._beyond is None:
            return tuple(self._kept)
        summary = TemplateError(
            f"{self._more} more problem{'s' if self._more > 1 else ''} from here on",
            hint="correct those before it first",
        )
        return (*self._kept, self._placed(summary, *self._beyond))

    def _placed(self, error: TemplateError, start: int, end: int) -> TemplateError:
        text = self._template.text_of(Text(start, min(end, start + _SHOWN)))
        return error.at(self._source.place(start, end), token=text if end - start <= _SHOWN else text + "…")
