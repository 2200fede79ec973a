"""
Keeps a certificate of our own in a Secret, and its authority in the `caBundle` of the webhook's configuration.

Any number of replicas do so without a leader: who finds the certificate due writes the next one, and only the first
write of a resourceVersion counts; the others read it. See docs/decisions/0121-certificates-without-a-leader.md.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from injector.errors import ClusterError
from injector.webhook import certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from injector.kube.api import ClusterApi
    from injector.webhook.certificates import Material

_CONFLICT: Final = 409
_NOT_FOUND: Final = 404
_FORBIDDEN: Final = 403
_ATTEMPTS: Final = 5
_MERGE: Final = "application/strategic-merge-patch+json"
_APPLY: Final = "application/apply-patch+yaml"
_MANAGER: Final = "injector-webhook"
_CONFIGURATIONS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


class SelfSignedKeeper:
    """
    One replica's view. *names* are those of the server, *lifetime* in seconds; *clock* gives seconds since the epoch.

    `look` blocks while it talks to the API server.
    """

    def __init__(
        self,
        api: ClusterApi,
        *,
        namespace: str,
        secret: str,
        configuration: str,
        names: Sequence[str],
        lifetime: float,
        clock: Callable[[], float],
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._secret = secret
        self._configuration = configuration
        self._names = tuple(names)
        self._lifetime = lifetime
        self._clock = clock
        self._unwritten: tuple[tuple[bytes, ...], Material] | None = None  # after which authorities, and what

    def look(self) -> Material:
        """
        The certificate to serve, which the API server trusts by now; renews it when it is due.

        Raises ClusterError; what was served before stays good for a third of its lifetime.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._look_once()
            except ClusterError as error:
                if error.status != _CONFLICT:
                    raise
        raise ClusterError(f"the Secret {self._namespace}/{self._secret} or {self._configuration} changes all the time")

    def _look_once(self) -> Material:
        found = self._read() or self._made()
        current = certificates.from_secret_data(found.get("data"))
        now = self._clock()
        if current is not None and not current.is_due(now, self._names):
            self._unwritten = None
            self._trust(current)
            return current
        renewed = self._next(current.bundle if current else (), now)
        # Trusted first, written then: no replica can find a certificate that the API server would refuse.
        self._trust(renewed)
        self._write(found, renewed)
        self._unwritten = None
        self._trust(renewed)  # somebody may have set the bundle to what it was before
        return renewed

    def _next(self, previous: tuple[bytes, ...], now: float) -> Material:
        """
        The certificate that follows the authorities *previous*: the same until it is written.

        Each is trusted before that, and while the Secret cannot be written, a new one at each look would make
        `caBundle` grow without end.
        """
        if self._unwritten is not None:
            after, material = self._unwritten
            if after == previous and not material.is_due(now, self._names):
                return material
        material = certificates.issue(self._names, self._lifetime, now, previous)
        self._unwritten = previous, material
        return material

    def _read(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._api.call("GET", f"{self._secrets}/{self._secret}")
        except ClusterError as error:
            if error.status != _NOT_FOUND:
                raise
            return None
        return found

    def _made(self) -> dict[str, Any]:
        """
        The Secret, made empty, or as somebody else has made it meanwhile.

        By server-side apply, whose path has the name: so the right to create can be held to that one, as that of a POST
        cannot.
        """
        empty = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self._secret, "namespace": self._namespace},
        }
        path = f"{self._secrets}/{self._secret}?fieldManager={_MANAGER}"
        try:
            made: dict[str, Any] = self._api.call("PATCH", path, empty, content_type=_APPLY)
        except ClusterError as error:
            if error.status != _FORBIDDEN:
                raise
            hint = (
                f"kubectl -n {self._namespace} create secret generic {self._secret}; or let the service account patch "
                "and create it, by its name"
            )
            message = f"the Secret {self._namespace}/{self._secret} is missing and may not be made: status 403"
            raise ClusterError(message, status=_FORBIDDEN, hint=hint) from None
        return made

    def _write(self, found: dict[str, Any], material: Material) -> None:
        # With its resourceVersion: a conflict when somebody else was first.
        changed = {**found, "data": {**(found.get("data") or {}), **material.as_secret_data()}}
        self._api.call("PUT", f"{self._secrets}/{self._secret}", changed)

    @property
    def _secrets(self) -> str:
        return f"/api/v1/namespaces/{self._namespace}/secrets"

    def _trust(self, material: Material) -> None:
        """Sees to it that every webhook of the configuration trusts the authorities of *material*."""
        path = f"{_CONFIGURATIONS}/{self._configuration}"
        found = self._api.call("GET", path)
        webhooks = []
        for webhook in found.get("webhooks") or ():
            present = _authorities(webhook)
            bundle = self._merged(present, material.bundle)
            if bundle != present:
                encoded = base64.b64encode(b"".join(bundle)).decode("ascii")
                webhooks.append({"name": webhook["name"], "clientConfig": {"caBundle": encoded}})
        if webhooks:
            version = {"resourceVersion": found["metadata"]["resourceVersion"]}
            self._api.call("PATCH", path, {"metadata": version, "webhooks": webhooks}, content_type=_MERGE)

    def _merged(self, present: tuple[bytes, ...], wanted: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """
        *wanted* and, of what is *present*, those of ours that are valid: another replica may be about to use them.

        *present* as it is when it has all of that, in whatever order.
        """
        now = self._clock()
        others = (each for each in present if certificates.is_ours(each) and not certificates.is_over(each, now))
        merged = tuple(dict.fromkeys((*wanted, *others)))
        return present if set(merged) == set(present) else merged


def _authorities(webhook: dict[str, Any]) -> tuple[bytes, ...]:
    try:
        return certificates.split(base64.b64decode(webhook["clientConfig"].get("caBundle") or "", validate=True))
    except (KeyError, TypeError, ValueError, binascii.Error):
        return ()
