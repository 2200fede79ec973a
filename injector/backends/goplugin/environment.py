"""
The environment of a plugin: an allow-list of ours, and go-plugin's own variables.

A plugin gets what it needs to find its store, its credentials and its way through a proxy, and nothing else: not the
secrets that the pod's other container reads from its environment, and not the PLUGIN_* variables of a host that runs
us (inherited ones crash or break go-plugin, see docs of its server: PLUGIN_CLIENT_CERT, PLUGIN_MULTIPLEX_GRPC).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.backends.goplugin.wiring import DEFAULT, Wiring

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

COOKIE_NAME = "CONFIGMANAGER_PLUGIN"
COOKIE_VALUE = "configmanager-plugin-hello"

_NAMES = frozenset(
    {
        *("HOME", "PATH", "TZ", "LANG", "LANGUAGE", "USER", "LOGNAME", "HOSTNAME", "TMPDIR", "TMP", "TEMP"),
        *("SYSTEMROOT", "SYSTEMDRIVE", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PATHEXT"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("KUBECONFIG", "ECS_CONTAINER_METADATA_URI", "ECS_CONTAINER_METADATA_URI_V4", "GCE_METADATA_HOST"),
        *("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "MSI_ENDPOINT", "MSI_SECRET"),
        "IMDS_ENDPOINT",
    }
)
_PREFIXES = ("AWS_", "AZURE_", "VAULT_", "GOOGLE_", "GCLOUD_", "CLOUDSDK_", "KUBERNETES_", "LC_", "XDG_")


def plugin_environment(
    inherited: Mapping[str, str],
    *,
    socket_directory: Path,
    versions: Collection[int],
    extra: Sequence[str] = (),
    wiring: Wiring = DEFAULT,
    client_certificate: str = "",
) -> dict[str, str]:
    """
    The whole environment of a plugin process.

    Args:
        inherited: our own environment.
        socket_directory: where the plugin makes its socket.
        versions: the protocol versions that we speak.
        extra: further variables that may pass, by name or as `NAME_*`. PLUGIN_* and the cookie never pass.
        wiring: what is asked of the connection.
        client_certificate: our own in PEM, when the plugin is asked for AutoMTLS.
    """
    passed = {name: value for name, value in inherited.items() if may_pass(name, extra)}
    return passed | {
        COOKIE_NAME: COOKIE_VALUE,
        "PLUGIN_PROTOCOL_VERSIONS": ",".join(map(str, sorted(versions))),
        "PLUGIN_MIN_PORT": str(wiring.min_port),
        "PLUGIN_MAX_PORT": str(wiring.max_port),
        "PLUGIN_UNIX_SOCKET_DIR": str(socket_directory),
        **({"PLUGIN_UNIX_SOCKET_GROUP": wiring.socket_group} if wiring.socket_group else {}),
        **({"PLUGIN_MULTIPLEX_GRPC": "true"} if wiring.multiplex else {}),
        **({"PLUGIN_CLIENT_CERT": client_certificate} if client_certificate else {}),
    }


def may_pass(name: str, extra: Sequence[str]) -> bool:
    """Whether a program that we start may have the variable *name*; *extra* as for `plugin_environment`."""
    if name.upper().startswith("PLUGIN_") or name == COOKIE_NAME:
        return False
    if name in _NAMES or name.startswith(_PREFIXES):
        return True
    return any(name.startswith(entry[:-1]) if entry.endswith("*") else name == entry for entry in extra)
