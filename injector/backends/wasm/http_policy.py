"""
Which URLs a plugin may ask for: the list of its connection, and nothing by default. Pure.

A rule is a host with an optional port: `api.example.com`, `api.example.com:8443`, `*.example.com` (every name below it,
not itself), `192.0.2.7`, `[2001:db8::7]:8443`. It stands for https; plain HTTP is allowed by `http://host:port` alone.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from msgspec import Struct

from injector.errors import PluginHttpRefused

if TYPE_CHECKING:
    from urllib.parse import SplitResult

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_LONGEST_URL = 8192

# Azure's address of the platform, which is public by its number.
_METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Target(Struct, frozen=True):
    """Where a request goes. `host` is in lower case, an IPv6 address without brackets; `path` has the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def address(self) -> IPAddress | None:
        """The address, when the URL has one in place of a name."""
        return address_of(self.host)

    @property
    def origin(self) -> str:
        """`host:port`, for messages and the log: no path, which may hold what is nobody's business."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """The value of the header Host."""
        return self.origin if self.port != DEFAULT_PORTS[self.scheme] else self.origin.rpartition(":")[0]

    @property
    def url(self) -> str:
        """The URL, as it is signed or sent to a proxy."""
        return f"{self.scheme}://{self.host_header}{self.path}"


class HostRule(Struct, frozen=True):
    """One entry of an allow-list. Made by `parse_rule`."""

    scheme: str
    host: str
    port: int

    def covers(self, target: Target) -> bool:
        """Whether *target* is of this scheme, host and port."""
        if (self.scheme, self.port) != (target.scheme, target.port):
            return False
        if self.host.startswith("*."):
            return target.address is None and target.host.endswith(self.host[1:])
        return self.host == target.host


class HttpPolicy(Struct, frozen=True):
    """
    What one connection lets its plugin do.

    `hosts` may be asked; `networks` may be reached although they are private. `redirects` is how many are followed.
    Sizes are in bytes, that of a response is what comes over the wire. `ca_file` replaces the system's authorities.
    `narrowed_to` are the globs of host names that the plugin's own manifest limits it to, None when it has none.
    """

    hosts: tuple[HostRule, ...] = ()
    networks: tuple[IPNetwork, ...] = ()
    redirects: int = 0
    max_request_bytes: int = 8 * 1024 * 1024
    max_response_bytes: int = 8 * 1024 * 1024
    max_header_bytes: int = 64 * 1024
    ca_file: str | None = None
    narrowed_to: tuple[str, ...] | None = None

    def check(self, url: str) -> Target:
        """
        The target of *url*.

        Raises:
            PluginHttpRefused: it is no URL that can be asked, or not on the list.
        """
        target = parse_url(url)
        if not any(rule.covers(target) for rule in self.hosts):
            raise PluginHttpRefused(
                f"a request to {target.scheme}://{target.origin} is not allowed",
                hint=f"if it is meant to be, add `{_as_rule(target)}` to injector.http.hosts of the connection",
            )
        if self.narrowed_to is not None and not any(fnmatch.fnmatchcase(target.host, g) for g in self.narrowed_to):
            raise PluginHttpRefused(
                f"a request to {target.origin} is not among the allowed_hosts of the plugin's own manifest",
                hint="correct the manifest beside the module",
            )
        return target

    def admits(self, address: IPAddress, target: Target) -> bool:
        """Whether a connection to *address*, which *target* resolved to, may be made."""
        if is_public(address) or address == target.address:
            return True  # an address that the rules name is meant
        if target.host == "localhost" and address.is_loopback:
            return True
        return any(address.version == network.version and address in network for network in self.networks)


def parse_rule(text: str) -> HostRule:
    """
    The rule of one entry of an allow-list.

    Raises:
        ValueError: it is none; the message says why and does not repeat it.
    """
    scheme, separator, rest = text.strip().lower().rpartition("://")
    if not separator:
        scheme = "https"
    if scheme not in DEFAULT_PORTS:
        raise ValueError("only https:// and http:// can be allowed")
    wildcard = rest.startswith("*.")
    parts = _split(f"{scheme}://{rest[2:] if wildcard else rest}")
    if parts.path or parts.query or parts.fragment or parts.username is not None or not parts.hostname:
        raise ValueError("a rule is a host with an optional port, without path, user or password")
    host = _host(parts.hostname)
    if wildcard and (address_of(host) is not None or "." not in host):
        raise ValueError("a wildcard needs a domain of two names at least, as in *.example.com")
    return HostRule(scheme, f"*.{host}" if wildcard else host, parts.port or DEFAULT_PORTS[scheme])


def parse_url(url: str) -> Target:
    """
    The parts of *url*; what follows `#` is dropped.

    Raises:
        PluginHttpRefused: a scheme that is not http or https, a user name or password, or no URL at all.
    """
    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise PluginHttpRefused("the URL is too long, or has characters that a URL has not", hint=_FAULT)
    try:
        parts = _split(url)
        host = _host(parts.hostname or "")
    except ValueError as error:
        raise PluginHttpRefused(str(error), hint=_FAULT) from None
    if parts.scheme not in DEFAULT_PORTS:
        raise PluginHttpRefused("only https:// and http:// URLs can be asked", hint=_FAULT)
    if parts.username is not None or parts.password is not None:
        raise PluginHttpRefused("a URL with a user name or a password is not taken", hint=_FAULT)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, parts.port or DEFAULT_PORTS[parts.scheme], path)


_FAULT = "this is a fault of the plugin, or of a URL in its configuration"


def address_of(host: str) -> IPAddress | None:
    """*host* as an address, None when it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_public(address: IPAddress) -> bool:
    """Whether *address* is one of the open Internet: not loopback, private, link-local, of a cloud's metadata, …"""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved and address not in _METADATA


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("the host or the port of the URL makes no sense") from None
    if parts.port == 0:
        raise ValueError("port 0 is no port")
    return parts


def _host(text: str) -> str:
    host = text.lower()
    address = address_of(host)
    if address is not None:
        if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
            raise ValueError("an address with a zone is not taken")
        return str(address)
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise ValueError("the host is no name of letters, digits, dots and hyphens (write others as xn--…)")
    return host


def _as_rule(target: Target) -> str:
    if target.scheme == "http":
        return f"http://{target.origin}"
    return target.host_header
