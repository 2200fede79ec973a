"""
What the keeper of the webhook's certificate asks of the API server. That is a stand-in, which holds one Secret and one
configuration, and refuses at our choice; tests/e2e has a real one.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest

from injector.errors import ClusterError
from injector.webhook.certificates import split
from injector.webhook.keeper import SelfSignedKeeper

SECRET = "/api/v1/namespaces/own/secrets/tls"
CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/hook"


class Api:
    def __init__(self) -> None:
        self.secret: dict[str, Any] | None = None
        self.bundle = ""
        self.refused: set[str] = set()
        self.calls: list[str] = []
        self.late = False

    def call(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Any:
        bare = path.partition("?")[0]
        self.calls.append(f"{method} {bare.rpartition('/')[2]}")
        if self.calls[-1] in self.refused:
            raise ClusterError(f"{method} {path}: status 403", status=403)
        if bare == CONFIGURATION:
            if method == "PATCH":
                self.bundle = body["webhooks"][0]["clientConfig"]["caBundle"]
            webhook = {"name": "pods", "clientConfig": {"caBundle": self.bundle}}
            return {"metadata": {"resourceVersion": "1"}, "webhooks": [webhook]}
        assert bare == SECRET
        if method == "GET" and self.secret is None:
            raise ClusterError(f"{method} {path}: status 404", status=404)
        if method == "PATCH":
            assert content_type == "application/apply-patch+yaml"
            self.secret = {**body, "metadata": {**body["metadata"], "resourceVersion": "1"}}
        if method == "PUT":
            self.secret = body
        return self.secret


def keeper(api: Api) -> SelfSignedKeeper:
    return SelfSignedKeeper(
        api,  # type: ignore[arg-type]
        namespace="own",
        secret="tls",
        configuration="hook",
        names=["hook.own.svc"],
        lifetime=3600.0,
        clock=lambda: 1_800_000_000.0,
    )


def test_a_missing_secret_is_made_by_its_name_and_then_written_as_any_other() -> None:
    api = Api()
    material = keeper(api).look()
    assert api.calls == ["GET tls", "PATCH tls", "GET hook", "PATCH hook", "PUT tls", "GET hook"]
    assert api.secret is not None
    assert base64.b64decode(api.secret["data"]["tls.crt"]) == material.certificate
    assert api.secret["metadata"]["resourceVersion"] == "1"


def test_while_the_secret_cannot_be_written_the_authorities_do_not_pile_up() -> None:
    api = Api()
    own = keeper(api)
    api.refused.add("PUT tls")
    for _ in range(5):
        with pytest.raises(ClusterError):
            own.look()
    assert len(split(base64.b64decode(api.bundle))) == 1
    api.refused.clear()
    material = own.look()
    assert material.bundle == split(base64.b64decode(api.bundle)), "the one that has been trusted all the while"


def test_a_secret_that_may_not_be_made_is_named_with_the_command_that_makes_it() -> None:
    api = Api()
    api.refused.add("PATCH tls")
    with pytest.raises(ClusterError) as caught:
        keeper(api).look()
    assert caught.value.message == "the Secret own/tls is missing and may not be made: status 403"
    assert "kubectl -n own create secret generic tls" in (caught.value.hint or "")
    assert not api.bundle, "nothing is trusted that could not be kept"


def test_a_secret_that_somebody_else_has_made_and_filled_meanwhile_is_not_overwritten() -> None:
    """Between our look, which found none, and our attempt to make it, another replica has written its certificate."""
    api = Api()
    others = keeper(api).look()
    read = api.call

    def late(method: str, path: str, body: Any = None, **how: str) -> Any:
        bare = path.partition("?")[0]
        if (method, bare) == ("GET", SECRET) and not api.late:
            api.late = True
            raise ClusterError(f"{method} {path}: status 404", status=404)
        if (method, bare) == ("PATCH", SECRET):
            return api.secret  # nothing is in what is applied
        return read(method, path, body, **how)

    api.call = late  # type: ignore[method-assign, assignment]
    assert keeper(api).look() == others
