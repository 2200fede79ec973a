"""Searching ahead without searching twice."""

from __future__ import annotations


class Ahead:
    """
    Where the next `needle` in `data` is, for offsets that only rise.

    The answer is remembered, so that a million openings with no closing cost one search and not a million.
    """

    def __init__(self, data: bytes, needle: bytes) -> None:
        self._data = data
        self._needle = needle
        self._found = -1

    def of(self, offset: int) -> int:
        """The first needle at or after `offset`, or the end of the text."""
        if self._found < offset:
            found = self._data.find(self._needle, offset)
            self._found = len(self._data) if found < 0 else found
        return self._found
