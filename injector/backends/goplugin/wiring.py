"""What is asked of the way to a plugin: TLS, multiplexing, ports, and whose socket it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from injector.model.policy import AutoMtls

if TYPE_CHECKING:
    from pathlib import Path

    from injector.backends.goplugin.handshake import Handshake


class Wiring(Struct, frozen=True, kw_only=True):
    """
    The settings `plugins.*` that concern the connection; see `settings.schema.PluginSettings`.

    `socket_group` is a group's name or number, or empty; `socket_directory` is where socket directories are made.
    """

    auto_mtls: AutoMtls = AutoMtls.PREFER
    multiplex: bool = False
    min_port: int = 10_000
    max_port: int = 25_000
    socket_group: str = ""
    socket_directory: Path | None = None


DEFAULT = Wiring()


def refusal(handshake: Handshake, wiring: Wiring) -> tuple[str, str] | None:
    """Why *handshake* is not an answer to what was asked for, and a remedy; None when it is one."""
    if handshake.certificate is not None and wiring.auto_mtls is AutoMtls.OFF:
        return (
            "it brings a certificate, and TLS was not asked for",
            "the plugin must serve without TLS when PLUGIN_CLIENT_CERT is not set",
        )
    if handshake.certificate is None and wiring.auto_mtls is AutoMtls.REQUIRE:
        return (
            "it brings no certificate, and AutoMTLS is required",
            "set plugins.autoMtlsFor to prefer for it if it may be reached in clear",
        )
    if wiring.multiplex and not handshake.multiplex:
        return (
            "it does not multiplex connections, and that is required",
            "rebuild the plugin with go-plugin 1.6.0 or newer, or set plugins.multiplex to false",
        )
    return None
