"""Which requests of plugins go through a proxy: https_proxy, http_proxy and no_proxy, in either case. Pure."""

from __future__ import annotations

import base64
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from injector.backends.wasm.http_policy import address_of
from injector.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from injector.backends.wasm.http_policy import Target


class Proxy(Struct, frozen=True):
    """A proxy that is spoken to over plain HTTP. `authorization` is a header's value, empty for none."""

    host: str
    port: int
    authorization: str = ""

    def __repr__(self) -> str:  # the header is a password
        return f"Proxy({self.host}:{self.port})"


def proxy_for(target: Target, environment: Mapping[str, str]) -> Proxy | None:
    """
    The proxy for *target*, None for a direct connection.

    Raises:
        SettingsError: the variable that names it holds no http:// URL.
    """
    name = f"{target.scheme}_proxy"
    url = environment.get(name) or environment.get(name.upper(), "")
    if not url or _is_exempt(target, environment.get("no_proxy") or environment.get("NO_PROXY", "")):
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        raise _unusable(name) from None
    if not host or parts.scheme != "http":
        raise _unusable(name)
    return Proxy(host, port, _basic(parts.username, parts.password or ""))


def _unusable(name: str) -> SettingsError:
    return SettingsError(f"{name} is no http:// URL with a host", hint="proxies over TLS or SOCKS are not used")


def _basic(user: str | None, password: str) -> str:
    if user is None:
        return ""
    return "Basic " + base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode("ascii")


def _is_exempt(target: Target, listed: str) -> bool:
    return any(_matches(entry.strip().lower(), target) for entry in listed.split(",") if entry.strip())


def _matches(entry: str, target: Target) -> bool:
    """As curl and Go read it: `*`, an address, a network, or a domain with all below it, with or without a port."""
    if entry == "*":
        return True
    if target.address is not None:
        try:
            return target.address in ipaddress.ip_network(entry.strip("[]"), strict=False)
        except (ValueError, TypeError):
            pass
    host, _, port = entry.rpartition(":")
    if host and port.isdecimal() and address_of(entry) is None:
        if int(port) != target.port:
            return False
        entry = host.strip("[]")
    domain = entry.removeprefix("*").lstrip(".")
    return target.host == domain or target.host.endswith(f".{domain}")
