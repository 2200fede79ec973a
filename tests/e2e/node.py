"""What tests do to the node of run.sh: its API server taken away, tokens signed with its key."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from e2e.cluster import Cluster, until

ISSUER = "https://kubernetes.default.svc.cluster.local"


class Node:
    """The node in *directory*, seen from its own processes; kube-apiserver.sh keeps its API server."""

    def __init__(self, directory: Path, cluster: Cluster) -> None:
        self._run = directory / "run"
        self._cluster = cluster

    @contextlib.contextmanager
    def without_api_server(self, how: str) -> Iterator[None]:
        """
        Nobody answers meanwhile. *how* is `gone`: its process is killed, connections are refused; or `hanging`: its
        process is stopped, connections are taken and nothing comes. It is back, and answers, afterwards.
        """
        try:
            if how == "gone":
                self._away.touch()
                os.kill(self._process(), signal.SIGKILL)
            else:
                os.kill(self._process(), signal.SIGSTOP)
            yield
        finally:
            if how == "gone":
                self._away.unlink()
            else:
                os.kill(self._process(), signal.SIGCONT)
            until(lambda: self._cluster.kubectl("get", "--raw", "/readyz", "--request-timeout=5s"), what="its return")

    @property
    def _away(self) -> Path:
        return self._run / "apiserver.away"

    def _process(self) -> int:
        return int((self._run / "apiserver.pid").read_text())

    def token(self, account: dict[str, Any], *, expires_in: float) -> str:
        """A token of the service account *account* (its object); with a negative *expires_in*, seconds, it is over."""
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import padding, rsa

        name, namespace = account["metadata"]["name"], account["metadata"]["namespace"]
        end = int(time.time() + expires_in)
        claims = {
            "iss": ISSUER,
            "aud": [ISSUER],
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "iat": end - 7200,
            "nbf": end - 7200,
            "exp": end,
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]},
            },
        }
        parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
        signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
        key = serialization.load_pem_private_key((self._run / "pki" / "sa.key").read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        signature = base64.urlsafe_b64encode(key.sign(signed, padding.PKCS1v15(), hashes.SHA256())).rstrip(b"=")
        return (signed + b"." + signature).decode()


def authority(cluster: Cluster) -> str:
    """The certificate (PEM) by which the API server is known."""
    config = json.loads(cluster.kubectl("config", "view", "--raw", "-o", "json"))
    return base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()


def server(cluster: Cluster) -> tuple[str, int]:
    """Host and port of the API server."""
    config = json.loads(cluster.kubectl("config", "view", "--raw", "-o", "json"))
    found = urlsplit(config["clusters"][0]["cluster"]["server"])
    return found.hostname or "", found.port or 443


def fetch(url: str, data: bytes | None = None, method: str | None = None) -> tuple[int, str]:
    """Status and text of a pod's own address: (0, "") while nobody listens there."""
    request = urllib.request.Request(url, data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""
