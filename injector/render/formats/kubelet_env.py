"""Environment files as the kubelet reads them (fileKeyRef, since 1.35): NAME='value' and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.render.formats import env_files
from injector.render.formats.env_readers import kubelet

if TYPE_CHECKING:
    from injector.render.formats.layout import Item, Layout, Marked

_DIALECT = env_files.Dialect(
    whole=(kubelet,),
    strict=True,
    hint="the kubelet knows no spelling for a single quote: write [encoding=base64] behind the token",
)


def lay_out(marked: Marked) -> Layout:
    """See `env_files`."""
    return env_files.lay_out(marked, _DIALECT)


def outline(text: str) -> list[Item]:
    """See `env_files`."""
    return env_files.outline(text, _DIALECT)
