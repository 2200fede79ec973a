"""Environment files in general: a POSIX shell, systemd and python-dotenv read them alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.render.formats import env_files
from injector.render.formats.env_readers import python_dotenv, shell, systemd

if TYPE_CHECKING:
    from injector.render.formats.layout import Item, Layout, Marked

_DIALECT = env_files.Dialect(
    whole=(python_dotenv, systemd),
    single=(shell,),
    hint="say who reads it, as format: docker-env, systemd-env or kubelet-env, or write [encoding=base64]",
)


def lay_out(marked: Marked) -> Layout:
    """See `env_files`."""
    return env_files.lay_out(marked, _DIALECT)


def outline(text: str) -> list[Item]:
    """See `env_files`."""
    return env_files.outline(text, _DIALECT)
