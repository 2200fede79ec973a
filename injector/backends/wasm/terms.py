"""
A connection's settings, taken apart: what binds the host (`injector`), what it signs with, what the guest is given.

    injector:                      # never given to the guest
      http:
        hosts: [api.example.com, "*.example.net:8443", "http://127.0.0.1:8080"]
        networks: [10.0.0.0/8]     # private ones that may be reached
        redirects: 0
        maxRequestSize: 8388608    # bytes
        maxResponseSize: 8388608
        caFile: /etc/pki/ours.pem  # instead of the system's authorities
      sign:
      - {kind: aws-sigv4, hosts: [ssm.eu-west-1.amazonaws.com], service: ssm, region: eu-west-1}
      - {kind: bearer, hosts: [api.example.com], setting: token}
      - {kind: vault, hosts: [vault.example.com], setting: vault_token, namespace: team}
    api_key: …                     # the rest is the guest's, but for what a signer uses

`aws-sigv4` signs with the settings aws_access_key_id, aws_secret_access_key and aws_session_token; without them, with
what botocore finds (`profile` chooses). Hosts of `sign` may be asked without being repeated in `http`.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from injector.backends.wasm.http_policy import HostRule, HttpPolicy, parse_rule
from injector.backends.wasm.signing import (
    AwsCredentials,
    AwsSigV4,
    Bearer,
    Grant,
    Signers,
    VaultToken,
    ambient_aws_credentials,
)
from injector.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from injector.backends.wasm.http_policy import IPNetwork
    from injector.backends.wasm.signing import Signer

KEY: Final = "injector"
"""The one name of a connection's settings that is the host's."""

_AWS_KEYS: Final = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_Bytes = Annotated[int, Meta(ge=0, le=1 << 30)]


class Terms(Struct, frozen=True):
    """
    What follows from a connection: limits and signatures for the host, `settings` for the guest.

    `secrets` are the texts among all settings that a log must not show.
    """

    policy: HttpPolicy
    signers: Signers
    settings: Mapping[str, Any]
    secrets: frozenset[bytes]

    def __repr__(self) -> str:
        return "Terms(***)"


class _Http(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    hosts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    redirects: Annotated[int, Meta(ge=0, le=10)] = 0
    max_request_size: _Bytes = HttpPolicy().max_request_bytes
    max_response_size: _Bytes = HttpPolicy().max_response_bytes
    ca_file: str | None = None


class _Aws(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="aws-sigv4"):
    hosts: tuple[str, ...]
    service: str
    region: str
    profile: str = ""


class _Bearer(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="bearer"):
    hosts: tuple[str, ...]
    setting: str = "token"


class _Vault(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="vault"):
    hosts: tuple[str, ...]
    setting: str = "vault_token"
    namespace: str = ""


class _Host(Struct, frozen=True, forbid_unknown_fields=True):
    http: _Http = _Http()
    sign: tuple[_Aws | _Bearer | _Vault, ...] = ()


def terms_of(settings: Mapping[str, Any], *, connection: str) -> Terms:
    """
    The terms of a connection with *settings* (JSON's types); *connection* is how messages call it.

    Raises:
        InvalidConfiguration: the part `injector` makes no sense, or lacks what a signer needs.
    """
    host = _host_part(settings.get(KEY, {}), connection)
    used: set[str] = set()
    grants = tuple(
        Grant(_rules(wanted.hosts, connection), _signer(wanted, settings, used, connection)) for wanted in host.sign
    )
    policy = HttpPolicy(
        hosts=(*_rules(host.http.hosts, connection), *(rule for grant in grants for rule in grant.hosts)),
        networks=tuple(_networks(host.http.networks, connection)),
        redirects=host.http.redirects,
        max_request_bytes=host.http.max_request_size,
        max_response_bytes=host.http.max_response_size,
        ca_file=host.http.ca_file,
    )
    given = {name: value for name, value in settings.items() if name != KEY and name not in used}
    return Terms(policy, Signers(grants), given, frozenset(_secrets(settings)))


# Which settings are secret is not said anywhere; these are not, and a log without them would be of little use.
_PLAIN: Final = re.compile(
    r"(?:.*[_-])?(?:urls?|hosts?|regions?|endpoints?|namespace|profile|timeout|ms|limit|port|version|path|user(?:name)?)",
    re.IGNORECASE,
)


def _secrets(settings: Mapping[str, Any]) -> Iterator[bytes]:
    for name, value in settings.items():
        if name == KEY or _PLAIN.fullmatch(name):
            continue
        if isinstance(value, str):
            yield value.encode()
        elif isinstance(value, dict):
            yield from _secrets(value)
        elif isinstance(value, list):
            yield from _secrets({str(place): item for place, item in enumerate(value)})


def _host_part(raw: Any, connection: str) -> _Host:
    try:
        if isinstance(raw, str):  # connections whose values are texts
            raw = json.loads(raw)
        return msgspec.convert(raw, _Host)
    except msgspec.ValidationError as error:
        raise InvalidConfiguration(f"{connection}: `{KEY}` of its settings: {error}", hint=_SEE) from None
    except ValueError:
        raise InvalidConfiguration(f"{connection}: `{KEY}` of its settings is no JSON", hint=_SEE) from None


_SEE = "docs/wasm-plugins.md has the names that are known"


def _rules(texts: Iterable[str], connection: str) -> tuple[HostRule, ...]:
    rules = []
    for text in texts:
        try:
            rules.append(parse_rule(text))
        except ValueError as error:
            shown = text.rpartition("@")[2]  # what is before it may be a password
            raise InvalidConfiguration(f"{connection}: the host `{shown}` cannot be granted: {error}") from None
    return tuple(rules)


def _networks(texts: Iterable[str], connection: str) -> Iterable[IPNetwork]:
    for text in texts:
        try:
            yield ipaddress.ip_network(text)
        except ValueError:
            raise InvalidConfiguration(
                f"{connection}: `{text}` is no network", hint="as in 10.0.0.0/8 or fd00::/8, without bits of a host"
            ) from None


def _signer(wanted: _Aws | _Bearer | _Vault, settings: Mapping[str, Any], used: set[str], connection: str) -> Signer:
    if isinstance(wanted, _Aws):
        used.update(_AWS_KEYS)
        key_id, secret, session = (_text(settings.get(name, ""), name, connection) for name in _AWS_KEYS)
        if bool(key_id) != bool(secret):
            raise InvalidConfiguration(f"{connection}: of {_AWS_KEYS[0]} and {_AWS_KEYS[1]} one is missing")
        if not key_id:
            return AwsSigV4(wanted.service, wanted.region, ambient_aws_credentials(wanted.profile))
        credentials = AwsCredentials(key_id, secret, session)
        return AwsSigV4(wanted.service, wanted.region, lambda: credentials)
    used.add(wanted.setting)
    token = _text(settings.get(wanted.setting, ""), wanted.setting, connection)
    if not token:
        raise InvalidConfiguration(f"{connection}: there is no setting {wanted.setting} to sign with")
    return Bearer(token) if isinstance(wanted, _Bearer) else VaultToken(token, wanted.namespace)


def _text(value: Any, name: str, connection: str) -> str:
    if not isinstance(value, str) or not value.isascii() or (value and not value.isprintable()):
        raise InvalidConfiguration(f"{connection}: the setting {name} is no text that fits into a header")
    return value
