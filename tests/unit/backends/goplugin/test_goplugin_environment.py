"""What a plugin sees of our environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from injector.backends.goplugin.environment import plugin_environment

OWN = {
    "CONFIGMANAGER_PLUGIN": "configmanager-plugin-hello",
    "PLUGIN_PROTOCOL_VERSIONS": "1",
    "PLUGIN_MIN_PORT": "10000",
    "PLUGIN_MAX_PORT": "25000",
    "PLUGIN_UNIX_SOCKET_DIR": "/run/x",
}


def _environment(inherited: dict[str, str], extra: tuple[str, ...] = ()) -> dict[str, str]:
    return plugin_environment(inherited, socket_directory=Path("/run/x"), versions=(1,), extra=extra)


def test_without_anything_inherited_it_is_go_plugins_own_variables() -> None:
    assert _environment({}) == OWN


@pytest.mark.parametrize(
    "name",
    [
        *("AWS_REGION", "AZURE_CLIENT_ID", "VAULT_ADDR", "GOOGLE_APPLICATION_CREDENTIALS", "KUBERNETES_SERVICE_HOST"),
        *("HTTPS_PROXY", "https_proxy", "no_proxy", "SSL_CERT_FILE", "HOME", "PATH", "TZ", "LC_ALL", "XDG_CONFIG_HOME"),
        *("CLOUDSDK_CONFIG", "TMPDIR", "USER", "SYSTEMROOT", "IDENTITY_HEADER"),
    ],
)
def test_what_a_store_needs_passes(name: str) -> None:
    assert _environment({name: "v"})[name] == "v"


@pytest.mark.parametrize(
    "name",
    ["DB_PASSWORD", "INJECTOR_TOKEN", "PYTHONPATH", "LD_PRELOAD", "GITHUB_TOKEN", "CONFIGMANAGER_DIR", "MY_AWS_X"],
)
def test_anything_else_stays_with_us(name: str) -> None:
    assert _environment({name: "v"}) == OWN


def test_variables_can_be_let_through_by_name_and_by_prefix() -> None:
    inherited = {"DEMOSTORE_FILE": "f", "ONE": "1", "ONE_MORE": "2"}
    assert _environment(inherited, ("DEMOSTORE_*", "ONE")) == OWN | {"DEMOSTORE_FILE": "f", "ONE": "1"}


def test_a_hosts_own_plugin_variables_never_pass() -> None:
    inherited = {
        "PLUGIN_CLIENT_CERT": "pem",
        "PLUGIN_MULTIPLEX_GRPC": "true",
        "plugin_x": "1",
        "CONFIGMANAGER_PLUGIN": "no",
        "PLUGIN_PROTOCOL_VERSIONS": "9",
    }
    assert _environment(inherited, ("*", "PLUGIN_*", "CONFIGMANAGER_PLUGIN")) == OWN
