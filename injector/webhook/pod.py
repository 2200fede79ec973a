"""
A pod as far as admission looks at it.

Typed for reading only: the patch adds to the raw pod, so a field that is not here is never lost.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class Reads(Struct, frozen=True, rename="camel"):
    """Base of what is read: camelCase names, unknown fields passed over."""


class OwnerReference(Reads, frozen=True):
    kind: str = ""


class Metadata(Reads, frozen=True):
    name: str | None = None
    generate_name: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None


class Variable(Reads, frozen=True):
    """An entry of `env`; `value_from` as it was written."""

    name: str
    value: str | None = None
    value_from: dict[str, Any] | None = None

    def written(self) -> dict[str, Any]:
        """The entry for another container."""
        if self.value_from is not None:
            return {"name": self.name, "valueFrom": self.value_from}
        return {"name": self.name, "value": self.value or ""}


class Mount(Reads, frozen=True):
    """An entry of `volumeMounts`."""

    name: str
    mount_path: str
    sub_path: str | None = None
    sub_path_expr: str | None = None


class ContainerSecurity(Reads, frozen=True):
    run_as_user: int | None = None
    run_as_group: int | None = None


class Container(Reads, frozen=True):
    name: str
    command: list[str] | None = None
    args: list[str] | None = None
    env: list[Variable] | None = None
    volume_mounts: list[Mount] | None = None
    security_context: ContainerSecurity | None = None


class Volume(Reads, frozen=True):
    name: str


class PodSecurity(Reads, frozen=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    fs_group: int | None = None


class OperatingSystem(Reads, frozen=True):
    name: str = ""


class PodSpec(Reads, frozen=True):
    containers: list[Container]
    init_containers: list[Container] | None = None
    volumes: list[Volume] | None = None
    security_context: PodSecurity | None = None
    os: OperatingSystem | None = None
    node_selector: dict[str, str] | None = None
    host_network: bool | None = None
    host_pid: bool | None = field(name="hostPID", default=None)
    share_process_namespace: bool | None = None


class Pod(Reads, frozen=True):
    """Lists and mappings that are null or missing are None: both are written anew by the patch."""

    spec: PodSpec
    metadata: Metadata | None = None

    @property
    def annotations(self) -> dict[str, str]:
        return (self.metadata and self.metadata.annotations) or {}

    @property
    def labels(self) -> dict[str, str]:
        return (self.metadata and self.metadata.labels) or {}

    @property
    def is_for_windows(self) -> bool:
        selected = (self.spec.node_selector or {}).get("kubernetes.io/os")
        return (self.spec.os.name if self.spec.os else selected) == "windows"

    @property
    def is_of_a_job(self) -> bool:
        return any(owner.kind == "Job" for owner in (self.metadata and self.metadata.owner_references) or ())
