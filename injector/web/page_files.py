"""The files of the page, read once: what is served is a fixed list, and no path of a request reaches the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from msgspec import Struct

DIRECTORY: Final = Path(__file__).with_name("page")
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class PageFile(Struct, frozen=True):
    """A file's bytes and their media type."""

    content: bytes
    media_type: str


def read_page(directory: Path = DIRECTORY) -> dict[str, PageFile]:
    """The page's files by their paths in URLs; `index.html` is `/`. Files of other kinds are left out."""
    files = {
        f"/{file.name}": PageFile(file.read_bytes(), _TYPES[file.suffix])
        for file in sorted(directory.iterdir())
        if file.suffix in _TYPES
    }
    files["/"] = files.pop("/index.html")
    return files
