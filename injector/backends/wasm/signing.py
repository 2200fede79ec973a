"""
What the host signs for plugins, from the connection, so that no credential enters a guest.

A grant names hosts and one kind of signature. A request to one of these hosts is signed, whether the guest asks for it
or not; a guest that asks for something else than what was granted is refused.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote, unquote, urlsplit

from msgspec import Struct

from injector.backends.wasm.http_policy import HostRule  # noqa: TC001 - msgspec reads the fields' types
from injector.errors import CredentialsRefused, PluginHttpRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from injector.backends.wasm.http_client import Headers, HttpRequest
    from injector.backends.wasm.http_policy import Target

_SIGNED_ALWAYS: Final = frozenset({"host", "content-type"})
_NEVER_FROM_GUESTS: Final = frozenset({"authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"})


class Signer(Protocol):
    """Adds to a request what proves who is asking."""

    @property
    def scope(self) -> Mapping[str, str]:
        """What a guest may ask for: `kind`, and what else narrows it."""
        ...

    def headers(self, request: HttpRequest, target: Target, /) -> Headers:
        """All headers of the signed request. Raises CredentialsRefused when there is nothing to sign with."""
        ...


class Grant(Struct, frozen=True):
    """*signer* signs what goes to one of *hosts*."""

    hosts: tuple[HostRule, ...]
    signer: Signer


class Signers:
    """The grants of one connection, the first that fits is used."""

    def __init__(self, grants: tuple[Grant, ...] = ()) -> None:
        self._grants = grants

    def sign(self, request: HttpRequest, target: Target) -> HttpRequest:
        """
        *request* with the headers that its signature needs, or as it is when there is no grant for *target*.

        Raises:
            PluginHttpRefused: the guest asks for a signature that is not granted.
            CredentialsRefused: there is nothing to sign with.
        """
        import msgspec

        wanted = dict(request.signature) if request.signature is not None else None
        for grant in self._grants:
            fits = any(rule.covers(target) for rule in grant.hosts)
            if fits and (wanted is None or wanted.items() <= grant.signer.scope.items()):
                return msgspec.structs.replace(request, headers=grant.signer.headers(request, target))
        if wanted is None:
            return request
        raise PluginHttpRefused(
            f"a signature for {target.origin} of the kind that the plugin asks for is not granted",
            hint="see injector.sign of the connection: kind, service, region and hosts must fit",
        )


class Bearer:
    """`Authorization: Bearer TOKEN`."""

    scope: Mapping[str, str] = {"kind": "bearer"}

    def __init__(self, token: str) -> None:
        self._token = token

    def headers(self, request: HttpRequest, _target: Target) -> Headers:
        """See Signer."""
        return (*_without(request, {"authorization"}), ("authorization", f"Bearer {self._token}"))


class VaultToken:
    """HashiCorp Vault's `X-Vault-Token`, with the namespace when there is one."""

    scope: Mapping[str, str] = {"kind": "vault"}

    def __init__(self, token: str, namespace: str = "") -> None:
        self._token = token
        self._namespace = namespace

    def headers(self, request: HttpRequest, _target: Target) -> Headers:
        """See Signer."""
        own = [("x-vault-token", self._token), ("x-vault-request", "true")]
        if self._namespace:
            own.append(("x-vault-namespace", self._namespace))
        return (*_without(request, {name for name, _ in own}), *own)


class AwsCredentials(Struct, frozen=True):
    """An access key; `session_token` is empty for a long-lived one."""

    key_id: str
    secret: str
    session_token: str = ""

    def __repr__(self) -> str:
        return "AwsCredentials(***)"


class AwsSigV4:
    """
    AWS Signature Version 4 in the header Authorization.

    Args:
        service, region: what is signed for.
        credentials: asked for every request, since they may be short-lived. Raises CredentialsRefused.
        now: the time, with its zone.
    """

    def __init__(
        self,
        service: str,
        region: str,
        credentials: Callable[[], AwsCredentials],
        *,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self.scope: Mapping[str, str] = {"kind": "aws-sigv4", "service": service, "region": region}
        self._service = service
        self._region = region
        self._credentials = credentials
        self._now = now

    def headers(self, request: HttpRequest, target: Target) -> Headers:
        """See Signer. The algorithm is that of the AWS General Reference, "Create a signed AWS API request"."""
        credentials = self._credentials()
        stamp = self._now().astimezone(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(request.body).hexdigest()
        own = [("x-amz-date", stamp)]
        if credentials.session_token:
            own.append(("x-amz-security-token", credentials.session_token))
        if self._service == "s3":
            own.append(("x-amz-content-sha256", digest))
        headers = (*_without(request, _NEVER_FROM_GUESTS), *own)
        signed = _signed_headers((*headers, ("host", target.host_header)))
        names = ";".join(name for name, _ in signed)
        canonical = "\n".join(
            [
                request.method,
                self._canonical_path(target),
                _canonical_query(target),
                *(f"{name}:{value}" for name, value in signed),
                "",
                names,
                digest,
            ]
        )
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signature = hmac.new(self._key(credentials.secret, stamp[:8]), text.encode(), hashlib.sha256).hexdigest()
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={credentials.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return (*headers, ("authorization", authorization))

    def _canonical_path(self, target: Target) -> str:
        path = urlsplit(target.url).path or "/"
        if self._service == "s3":  # the one service that takes paths as they are
            return quote(unquote(path), safe="/-_.~")
        return quote(_normalised(path), safe="/-_.~")  # encoded once more than it was sent

    def _key(self, secret: str, day: str) -> bytes:
        key = f"AWS4{secret}".encode()
        for part in (day, self._region, self._service, "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key


def ambient_aws_credentials(profile: str = "") -> Callable[[], AwsCredentials]:
    """
    The credentials that botocore finds: environment, files, IRSA, Pod Identity, instance; refreshed by itself.

    What is returned raises CredentialsRefused when the extra `aws` is missing, or nothing is found.
    """
    import threading

    lock = threading.Lock()
    found: list[object] = []

    def credentials() -> AwsCredentials:
        with lock:
            if not found:
                found.append(_botocore_credentials(profile))
        frozen = found[0].get_frozen_credentials()  # type: ignore[attr-defined]
        return AwsCredentials(frozen.access_key, frozen.secret_key, frozen.token or "")

    return credentials


def _botocore_credentials(profile: str) -> object:
    try:
        import botocore.session  # late: only when a connection has no key of its own
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise CredentialsRefused(
            "the connection has no AWS access key, and the package botocore, which looks for others, is not installed",
            hint="set aws_access_key_id and aws_secret_access_key, or pip install 'kube-config-injector[aws]'",
        ) from None
    try:
        credentials: object = botocore.session.Session(profile=profile or None).get_credentials()
    except BotoCoreError:
        credentials = None
    if credentials is None:
        raise CredentialsRefused(
            "there are no AWS credentials to sign with",
            hint="set aws_access_key_id and aws_secret_access_key in the connection, or give the pod a role",
        )
    return credentials


def _without(request: HttpRequest, names: frozenset[str] | set[str]) -> Headers:
    return tuple((name, value) for name, value in request.headers if name not in names)


def _signed_headers(headers: Headers) -> list[tuple[str, str]]:
    values: dict[str, list[str]] = {}
    for name, value in headers:
        if name in _SIGNED_ALWAYS or name.startswith("x-amz-"):
            values.setdefault(name, []).append(" ".join(value.split()))
    return sorted((name, ",".join(several)) for name, several in values.items())


def _canonical_query(target: Target) -> str:
    pairs = [pair.partition("=") for pair in urlsplit(target.url).query.split("&") if pair]
    return "&".join(f"{name}={value}" for name, value in sorted((_encoded(n), _encoded(v)) for n, _, v in pairs))


def _encoded(text: str) -> str:
    return quote(unquote(text), safe="-_.~")


def _normalised(path: str) -> str:
    """*path* without empty and dot segments."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            kept = kept[:-1]
        elif part and part != ".":
            kept.append(part)
    end = "/" if kept and path.endswith("/") else ""
    return f"/{'/'.join(kept)}{end}"
