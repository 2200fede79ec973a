"""Which flavour a module is of, told from its exports and imports before anything of it runs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from injector.errors import PluginRefused

if TYPE_CHECKING:
    from collections.abc import Collection

    from wasmtime import Module

EXTISM_MODULE: Final = "extism:host/env"
WASI_MODULE: Final = "wasi_snapshot_preview1"


class FlavourKind(StrEnum):
    REACTOR = "reactor"
    EXTISM = "extism"


def flavour_kind(module: Module, name: str) -> FlavourKind:
    """
    The flavour of *module*; *name* is the plugin's for messages.

    Raises PluginRefused for a module of neither, and for one of Extism that takes nothing but credentials.
    """
    exports = {export.name for export in module.exports}
    if any(each.module == EXTISM_MODULE for each in module.imports):
        _refuse_credentials_only(exports, name)
        return FlavourKind.EXTISM
    if "strategy_token_value" in exports:
        return FlavourKind.REACTOR
    _refuse_credentials_only(exports, name)
    if "_start" in exports:
        raise PluginRefused(
            f"{name} is refused: it is a WASM command, which ends after one run, and no plugin",
            hint="build it as a reactor: GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared",
        )
    raise PluginRefused(
        f"{name} is refused: it is neither a reactor plugin (no export strategy_token_value) nor an Extism plugin "
        f"(no import of {EXTISM_MODULE})",
        hint="docs/wasm-plugins.md says what a module has to export",
    )


def _refuse_credentials_only(exports: Collection[str], name: str) -> None:
    if "set_credentials" in exports and "plugin_configure" not in exports:
        raise PluginRefused(
            f"{name} is refused: it exports set_credentials and not plugin_configure; credentials that are set in one "
            "call are lost, because every call has a fresh instance, and nothing but credentials could be set",
            hint="rename the export to plugin_configure, and read the whole JSON configuration in it",
        )


def refuse_foreign_imports(module: Module, offered: Collection[tuple[str, str]], name: str) -> None:
    """Raises PluginRefused when *module* imports something beside WASI and *offered* (module, name)."""
    missing = sorted(
        f"{each.module}::{each.name}"
        for each in module.imports
        if each.module != WASI_MODULE and (each.module, each.name or "") not in offered
    )
    if missing:
        raise PluginRefused(
            f"{name} is refused: it wants {', '.join(missing[:5])}{' …' if missing[5:] else ''} of its host, "
            "which this does not have or was not granted",
            hint="docs/wasm-plugins.md says what a module may import",
        )
