"""New settings while the sidecar runs: which of them are taken, and which wait for the next start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from injector.settings.schema import Settings

FIXED = (
    "inputs",
    "output",
    "output_dir",
    "listen",
    "control",
    "plugin_path",
    "file_root",
    "plugins",
    "log_level",
    "log_format",
)
"""What the request, sockets, plugins and the log were made of at the start."""


def merged(running: Settings, loaded: Settings) -> tuple[Settings, tuple[str, ...]]:
    """*loaded* with what cannot change kept as it is in *running*, and the names of what was to change all the same."""
    kept = tuple(name for name in FIXED if getattr(running, name) != getattr(loaded, name))
    return replace(loaded, **{name: getattr(running, name) for name in kept}), kept
