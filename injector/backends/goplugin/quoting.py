"""A plugin's own words inside our messages: printable, on one line, and not too long."""

from __future__ import annotations


def quote(text: str, limit: int = 120) -> str:
    """*text* in quotation marks; control characters become `?`, what is longer than *limit* characters is cut."""
    shown = "".join(char if char.isprintable() else "?" for char in text[: limit + 1].replace("\t", " "))
    return f'"{shown[:limit]}…"' if len(shown) > limit else f'"{shown}"'
