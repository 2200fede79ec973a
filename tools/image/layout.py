"""What stands where in the image, and how it is started. The Containerfile says the same; a test compares."""

from __future__ import annotations

from typing import NamedTuple

PREFIX = "usr/local/lib/injector"
"""A virtual environment: it sees nothing of the base image's packages, and they nothing of ours."""
PLUGINS = f"{PREFIX}/plugins"
COMMAND = "usr/local/bin/injector"
SBOM = "usr/share/sbom/injector.cdx.json"

USER = "65532:65532"
ENTRYPOINT = ("injector",)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
WORKING_DIRECTORY = "/"
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
# One bundle for everything: where OpenSSL looks by itself differs from one build of Python to the next, and botocore
# and requests (traces) have bundles of their own. Go and curl know the first as well.
ENVIRONMENT = dict.fromkeys(("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"), f"/{CERTIFICATES}")
LABELS = {
    "org.opencontainers.image.title": "injector",
    "org.opencontainers.image.description": (
        "Puts secrets into the config files of Kubernetes applications: tokens in, finished files out."
    ),
    "org.opencontainers.image.licenses": "Apache-2.0",
}

# botocore brings the descriptions of 440 services; the Parameter Store plugin and the ways to log in need these.
AWS_SERVICES = frozenset({"ssm", "sts", "sso", "sso-oidc", "signin"})
# What nothing of ours imports, below site-packages. kubernetes.aio is a second client as large as the first.
UNUSED = ("kubernetes/aio", "websocket/tests", "certifi/tests", "bin")
UNUSED_STANDARD_LIBRARY = (
    "test", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages", "dist-packages", "pydoc_data",
)  # fmt: skip


class Python(NamedTuple):
    """The interpreter of the image: `version` as 3.11, `executable` and `stdlib` absolute paths in the image."""

    version: str
    executable: str
    stdlib: str


class Label(NamedTuple):
    """What differs between two builds of the same sources: `revision` may be empty."""

    version: str
    revision: str

    def all(self) -> dict[str, str]:
        """The image's labels."""
        labels = {**LABELS, "org.opencontainers.image.version": self.version}
        return {**labels, "org.opencontainers.image.revision": self.revision} if self.revision else labels
