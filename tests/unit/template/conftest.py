"""Scanning in one call, and its result in a form that a test can spell out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from injector.model.template import Escape, Source, Template, Text
from injector.template.grammar import KNOWN_PREFIXES, Grammar
from injector.template.scanner import scan

Scan = Callable[..., Template]
Found = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def scanned() -> Scan:
    """The template of some text, by the default grammar or one with other separators or more prefixes."""

    def run(data: bytes | str, *more: str, token: str = "://", key: str = "|") -> Template:
        raw = data.encode() if isinstance(data, str) else data
        return scan(Source("app.conf", raw), Grammar(KNOWN_PREFIXES | set(more), token, key))

    return run


@pytest.fixture
def found(scanned: Scan) -> Found:
    """(prefix, path, keys) of every token, with the metadata where there is any; there must be no problem."""

    def run(data: bytes | str, *more: str, **separators: str) -> list[tuple[object, ...]]:
        template = scanned(data, *more, **separators)
        assert template.problems == ()
        each = [(token.reference, token.keys) for token in template.tokens()]
        return [(r.prefix, r.path, keys, *([r.metadata] if r.metadata else [])) for r, keys in each]

    return run


@pytest.fixture
def rendered(scanned: Scan) -> Callable[..., bytes]:
    """The text with every token replaced by `<path>`."""

    def run(data: bytes | str, *more: str, **separators: str) -> bytes:
        template = scanned(data, *more, **separators)
        assert template.problems == ()
        out = []
        for piece in template.pieces:
            if isinstance(piece, Text):
                out.append(template.source.data[piece.start : piece.end])
            elif isinstance(piece, Escape):
                out.append(template.source.data[piece.start + 1 : piece.end])
            else:
                out.append(f"<{piece.reference.path}>".encode())
        return b"".join(out)

    return run
