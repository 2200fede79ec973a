"""What the operator of the webhook decides, and pods may change by annotations."""

from __future__ import annotations

from msgspec import Struct


class Resources(Struct, frozen=True):
    """Amounts as Kubernetes writes them; None leaves the entry out."""

    requests_cpu: str | None = "10m"
    requests_memory: str | None = "64Mi"
    limits_cpu: str | None = None
    limits_memory: str | None = "128Mi"


class Defaults(Struct, frozen=True, kw_only=True):
    """
    What a pod gets that does not say otherwise. `image` has injector as its entry point and in its PATH.

    `volume_size` is a Kubernetes quantity. `env_files` says that the cluster knows `valueFrom.fileKeyRef`. Pods of
    `ignored_namespaces` are left as they are.
    """

    image: str
    image_pull_policy: str | None = None
    mode: str = "native-sidecar"
    probes: str = "exec"
    port: int = 9464
    mount_path: str = "/config"
    volume_size: str = "16Mi"
    resources: Resources = Resources()
    user: int = 65532
    group: int = 65532
    env_files: bool = False
    ignored_namespaces: frozenset[str] = frozenset({"kube-system"})
