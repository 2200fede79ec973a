"""
What a container is to the clouds, for another container of its pod: variables and the volumes with their tokens.

IRSA and EKS Pod Identity (AWS), workload identity (Azure, Google), the service account's own token.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any, Final

from injector.webhook.wishes import refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from injector.webhook.pod import Container, Mount, Variable

_TOKEN_FILES: Final = frozenset(
    {
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AZURE_FEDERATED_TOKEN_FILE",
        "GOOGLE_APPLICATION_CREDENTIALS",
    }
)
_VARIABLES: Final = _TOKEN_FILES | {
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_AUTHORITY_HOST",
    "GOOGLE_CLOUD_PROJECT",
}
_LONGEST_PATH: Final = 4096  # bytes, the kernel's
_SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"


def variables(containers: Sequence[Container], passed: Iterable[str]) -> list[dict[str, Any]]:
    """
    The entries of `env` that *containers* have for the clouds (the first to have one wins), and those of the first
    container that are named in *passed*. Raises AdmissionRefused when it has no such variable.
    """
    found: dict[str, Variable] = {}
    for container in containers:
        for variable in container.env or ():
            if variable.name in _VARIABLES:
                found.setdefault(variable.name, variable)
    own = {variable.name: variable for variable in containers[0].env or ()}
    for name in passed:
        if name not in own:
            refuse("pass-env", f"container {containers[0].name} has no variable {name}")
        if own[name].value_from is not None and "fileKeyRef" in (own[name].value_from or {}):
            refuse("pass-env", f"variable {name} comes from a file, which may not be there yet")
        found[name] = own[name]
    return [variable.written() for variable in found.values()]


def mounts(containers: Sequence[Container], token_volume: str | None, taken: Iterable[str]) -> list[dict[str, Any]]:
    """
    The volumes that hold tokens of *containers*, mounted where they have them, read-only; nothing goes to or below
    the paths *taken*. Raises AdmissionRefused when no container mounts *token_volume*.
    """
    # Pods come from anybody, with thousands of mounts: nothing here is compared with everything.
    files = sorted({_SERVICE_ACCOUNT, *_token_files(containers)})
    used = set(taken)
    found: list[dict[str, Any]] = []
    for mount in _all_mounts(containers):
        path = mount.mount_path.rstrip("/")
        wanted = mount.name == token_volume or _holds_one(path, files)
        # A path that is made of variables would need those, too.
        if not wanted or mount.sub_path_expr or len(path) > _LONGEST_PATH or _is_at_or_below_one(path, used):
            continue
        used.add(path)
        entry = {"name": mount.name, "mountPath": mount.mount_path, "readOnly": True}
        found.append(entry | ({"subPath": mount.sub_path} if mount.sub_path else {}))
    if token_volume and not any(entry["name"] == token_volume for entry in found):
        refuse("service-account-token-volume-name", "none of the containers mounts such a volume")
    return found


def _holds_one(path: str, ordered: Sequence[str]) -> bool:
    """Whether one of *ordered*, which is sorted, is *path* or lies below it."""
    below = f"{path}/"
    return any(
        at < len(ordered) and (ordered[at] == path or ordered[at].startswith(below))
        for at in (bisect.bisect_left(ordered, path), bisect.bisect_left(ordered, below))
    )


def _is_at_or_below_one(path: str, others: AbstractSet[str]) -> bool:
    while path not in others:
        path, slash, _ = path.rpartition("/")
        if not slash:
            return False
    return True


def _token_files(containers: Iterable[Container]) -> list[str]:
    return [
        variable.value
        for container in containers
        for variable in container.env or ()
        if variable.name in _TOKEN_FILES and variable.value and variable.value.startswith("/")
    ]


def _all_mounts(containers: Iterable[Container]) -> list[Mount]:
    return [mount for container in containers for mount in container.volume_mounts or ()]
