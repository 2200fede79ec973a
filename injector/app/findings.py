"""What `injector doctor` finds in the documents of pods: pure functions, without a cluster."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from injector.errors import ExitCode
from injector.settings.schema import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

LABEL: Final = f"{DOMAIN}/inject"
STATUS: Final = f"{DOMAIN}/status"
_NEVER_UPDATED: Final = ("configMap", "secret", "projected", "downwardAPI")
_COMMANDS: Final = frozenset({"run", "init", "exec"})
_IDENTITIES: Final = {
    "AWS_WEB_IDENTITY_TOKEN_FILE": "IAM role for the service account",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "EKS Pod Identity",
    "AWS_ACCESS_KEY_ID": "a fixed AWS access key",
    "AZURE_FEDERATED_TOKEN_FILE": "Azure workload identity",
    "GOOGLE_APPLICATION_CREDENTIALS": "Google credentials",
    "VAULT_TOKEN": "a fixed Vault token",
}


class Verdict(StrEnum):
    """`ok`: as it should be · `warning`: it works, and may surprise · `problem`: it does not work."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(Struct, frozen=True):
    """One check's outcome: `subject` is what was looked at, `hint` what to do about it."""

    check: str
    verdict: Verdict
    subject: str
    message: str
    hint: str | None = None


def wants_injection(pod: Mapping[str, Any]) -> bool:
    """Whether the pod asks for the sidecar itself: by the label, or by annotations of ours."""
    metadata = pod.get("metadata", {})
    label = metadata.get("labels", {}).get(LABEL)
    if label is not None:
        return bool(label == "enabled")
    return any(name.startswith(f"{DOMAIN}/") and name != STATUS for name in metadata.get("annotations", {}))


def is_injected(pod: Mapping[str, Any]) -> bool:
    """Whether the webhook has added the sidecar, or somebody by hand or chart."""
    return pod.get("metadata", {}).get("annotations", {}).get(STATUS) == "injected" or bool(sidecars(pod))


def named(pod: Mapping[str, Any]) -> str:
    """`pod NAMESPACE/NAME`."""
    metadata = pod.get("metadata", {})
    return f"pod {metadata.get('namespace', 'default')}/{metadata.get('name', '?')}"


def sidecars(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The containers that run injector: by their command, or by its settings in their environment."""
    return [container for container in _containers(pod) if _is_ours(container)]


def of_pod(pod: Mapping[str, Any]) -> Iterator[Finding]:
    """All that the document of one pod tells."""
    yield _injection(pod)
    yield from _subpaths(pod)
    for container in sidecars(pod):
        yield from _outputs(pod, container)
        yield _identity(pod, container)
    yield from _states(pod)


def _injection(pod: Mapping[str, Any]) -> Finding:
    if is_injected(pod):
        return Finding("injection", Verdict.OK, named(pod), "has the sidecar")
    if wants_injection(pod):
        return Finding(
            *("injection", Verdict.PROBLEM, named(pod), "asks for the sidecar and does not have it"),
            hint="the webhook was not asked when it was created: see `injector doctor --cluster`, then make it anew "
            "(kubectl rollout restart)",
        )
    hint = f"label it {LABEL}=enabled, if it should have it"
    return Finding("injection", Verdict.WARNING, named(pod), "has no sidecar, and asks for none", hint=hint)


def _subpaths(pod: Mapping[str, Any]) -> Iterator[Finding]:
    kinds = {
        volume["name"]: next((kind for kind in _NEVER_UPDATED if kind in volume), None)
        for volume in pod.get("spec", {}).get("volumes", [])
    }
    for container in _containers(pod):
        for mount in container.get("volumeMounts", []):
            kind = kinds.get(mount.get("name"))
            if kind is not None and (mount.get("subPath") or mount.get("subPathExpr")):
                subject = f"{named(pod)}, container {container.get('name')}"
                message = f"{mount.get('mountPath')} is a subPath of a {kind}: it is never updated"
                hint = "mount the volume's directory, without subPath"
                yield Finding("subpath", Verdict.WARNING, subject, message, hint=hint)


def _outputs(pod: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[Finding]:
    shared = {
        mount["name"]
        for other in _containers(pod)
        if not _is_ours(other)
        for mount in other.get("volumeMounts", [])
        if "name" in mount
    }
    mine = {mount.get("name") for mount in container.get("volumeMounts", [])}
    volumes = [volume for volume in pod.get("spec", {}).get("volumes", []) if volume.get("name") in mine & shared]
    empty = [volume for volume in volumes if "emptyDir" in volume]
    subject = f"{named(pod)}, container {container.get('name')}"
    if not empty:
        hint = "mount the volume of the rendered files into the application's container, read-only"
        yield Finding("output", Verdict.PROBLEM, subject, "shares no emptyDir with the application", hint=hint)
    for volume in empty:
        if (volume.get("emptyDir") or {}).get("medium") != "Memory":
            message = f"volume {volume['name']} keeps rendered secrets on the node's disk"
            yield Finding("output", Verdict.WARNING, subject, message, hint="set emptyDir.medium to Memory")


def _identity(pod: Mapping[str, Any], container: Mapping[str, Any]) -> Finding:
    subject = f"{named(pod)}, container {container.get('name')}"
    names = {variable.get("name") for variable in container.get("env", [])}
    for name, meaning in _IDENTITIES.items():
        if name in names:
            return Finding("identity", Verdict.OK, subject, f"has {meaning}")
    account = pod.get("spec", {}).get("serviceAccountName", "default")
    message = f"has no identity for a cloud of its own (service account {account})"
    hint = "stores are asked as the node, or not at all; give the service account a role, or pass credentials"
    return Finding("identity", Verdict.WARNING, subject, message, hint=hint)


def _states(pod: Mapping[str, Any]) -> Iterator[Finding]:
    ours = {container.get("name") for container in sidecars(pod)}
    status = pod.get("status", {})
    for one in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        if one.get("name") not in ours:
            continue
        subject = f"{named(pod)}, container {one['name']}"
        ended = one.get("state", {}).get("terminated") or one.get("lastState", {}).get("terminated")
        waiting = one.get("state", {}).get("waiting")
        if waiting is not None and waiting.get("reason") not in {"PodInitializing", "ContainerCreating"}:
            hint = "see its log: kubectl logs --previous"
            yield Finding("container", Verdict.PROBLEM, subject, f"waits: {waiting.get('reason')}", hint=hint)
        if ended is not None and ended.get("exitCode"):
            yield Finding("container", Verdict.PROBLEM, subject, *_ending(ended))
        elif "running" in one.get("state", {}) and not one.get("ready"):
            hint = "kubectl exec into it: injector health --ready; kubectl describe shows why a probe failed"
            yield Finding("container", Verdict.PROBLEM, subject, "runs, and is not ready", hint=hint)
        elif "running" in one.get("state", {}):
            yield Finding("container", Verdict.OK, subject, f"runs, {one.get('restartCount', 0)} restarts")


def _ending(ended: Mapping[str, Any]) -> tuple[str, str]:
    """Message and hint for a container that ended badly."""
    code = ended["exitCode"]
    if ended.get("reason") == "OOMKilled":
        return "was ended: it needed more memory than its limit", "raise limits-memory"
    hints: Mapping[int, str] = {
        ExitCode.INVALID: "a template or setting is wrong: injector check",
        ExitCode.MISSING: "a value or key is missing in the store",
        ExitCode.UNAVAILABLE: "the store does not answer: network policy, endpoint, DNS",
        ExitCode.DENIED: "the store refuses it: the identity's permissions (injector iam-policy)",
        ExitCode.PLUGIN: "a plugin is missing or fails: injector plugin list",
        ExitCode.CHECK: "the rendered file is refused by its check",
        ExitCode.OUTPUT: "the output directory cannot be written: volume, user, fsGroup",
    }
    return f"ended with exit code {code}", hints.get(code, "see its log: kubectl logs --previous")


def _containers(pod: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    spec = pod.get("spec", {})
    return [*spec.get("initContainers", []), *spec.get("containers", [])]


def _is_ours(container: Mapping[str, Any]) -> bool:
    words: Iterable[str] = [*container.get("command", []), *container.get("args", [])]
    first = next(iter(words), "")
    program = first.rpartition("/")[2] == "injector"
    named_so = str(container.get("name", "")).startswith("injector")
    settings = any(str(one.get("name", "")).startswith("INJECTOR_") for one in container.get("env", []))
    return program or ((named_so or settings) and first in _COMMANDS)
