"""Our containers and volumes, as JSON: complete, so that a restricted namespace and a quota let them in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from injector.webhook.defaults import Resources

SIDECAR: Final = "injector"
INIT: Final = "injector-init"
DELIVERY: Final = "injector-exec"
TEMPLATES: Final = "injector-templates"
SETTINGS: Final = "injector-settings"
OUTPUT: Final = "injector-output"
SCRATCH: Final = "injector-scratch"
HANDOVER: Final = "injector-handover"
CONTAINER_NAMES: Final = frozenset({SIDECAR, INIT, DELIVERY})
VOLUME_NAMES: Final = frozenset({TEMPLATES, SETTINGS, OUTPUT, SCRATCH, HANDOVER, DELIVERY})

TEMPLATES_PATH: Final = "/injector/templates"
SETTINGS_PATH: Final = "/injector/settings"
SETTINGS_FILE: Final = "injector.yaml"
SCRATCH_PATH: Final = "/tmp"  # noqa: S108  # a volume of its own
HANDOVER_PATH: Final = "/injector/handover"
DELIVERY_PATH: Final = "/injector/exec"
PATHS: Final = (TEMPLATES_PATH, SETTINGS_PATH, SCRATCH_PATH, HANDOVER_PATH, DELIVERY_PATH)
CONTROL: Final = f"{SCRATCH_PATH}/injector.sock"
_SCRATCH_SIZE: Final = "16Mi"
_DELIVERY_SIZE: Final = "128Mi"
_STARTED: Final = (
    *(f"{DELIVERY_PATH}/loader", "--library-path", f"{DELIVERY_PATH}/lib", f"{DELIVERY_PATH}/python3"),
    *("-I", "-S", "-B", "-X", "utf8", f"{DELIVERY_PATH}/run.py"),
)
"""What `injector deliver` has written there, see app.delivering."""


class Plan(Struct, frozen=True, kw_only=True):
    """
    What the containers of one pod are made of. `arguments` are those of `run` and of `init`, `lasting` those of `run`
    alone; `environment` and `token_mounts` are entries for the container. `hands_over`: `init` leaves its values to the
    `run` that follows it.
    """

    image: str
    image_pull_policy: str | None
    resources: Resources
    user: int
    group: int
    output_path: str
    has_templates: bool
    has_settings: bool
    hands_over: bool
    arguments: Sequence[str]
    lasting: Sequence[str]
    environment: Sequence[Mapping[str, Any]]
    token_mounts: Sequence[Mapping[str, Any]]
    probes: str
    port: int


def native_sidecar(plan: Plan) -> dict[str, Any]:
    """An init container that stays: what comes after it starts when its startup probe has passed."""
    return sidecar(plan) | {"restartPolicy": "Always"}


def sidecar(plan: Plan) -> dict[str, Any]:
    """A container beside the application's, for clusters that have no native sidecars."""
    # A command is an interpreter's start each time.
    return _lasting(plan) | {"startupProbe": _probe(plan, "startup", 1 if plan.probes == "http" else 2, 300)}


def init_container(plan: Plan) -> dict[str, Any]:
    """A container that renders once and ends."""
    return _container(plan, INIT, ["init", *plan.arguments], [])


def delivery(plan: Plan) -> dict[str, Any]:
    """A container that writes the program of `started_by` and ends."""
    container = _container(plan, DELIVERY, ["deliver", DELIVERY_PATH], [])
    mount = {"name": DELIVERY, "mountPath": DELIVERY_PATH}
    scratch = {"name": SCRATCH, "mountPath": SCRATCH_PATH}
    # Nothing of what the others have: it asks no store, and reads no file.
    own = [each for each in container["env"] if each["name"] in ("POD_NAME", "POD_NAMESPACE", "TMPDIR")]
    return container | {"env": own, "volumeMounts": [mount, scratch]}


def started_by(directory: str, names: Sequence[str], command: Sequence[str]) -> list[str]:
    """The container's own *command*, with variables from the files *names* in *directory*; its `$(NAME)` stay."""
    return [*_STARTED, directory.replace("$", "$$"), *names, "--", *command]


def volumes(
    *,
    config_maps: Iterable[str],
    fields: Iterable[tuple[str, str]],
    settings: Mapping[str, Any] | None,
    size: str,
    handover: bool,
    delivery: bool,
) -> list[dict[str, Any]]:
    """
    The volumes: templates of *config_maps* and of annotations (*fields*: path, annotation), the *settings* (a volume's
    source), the output, room for sockets, a place for the *handover*, which containers of ours alone mount, and one for
    the program of the *delivery*.
    What is there already may change later; so may they.
    """
    sources: list[dict[str, Any]] = [{"configMap": {"name": name}} for name in config_maps]
    items = [{"path": path, "fieldRef": _annotation(annotation)} for path, annotation in fields]
    if items:
        sources.append({"downwardAPI": {"items": items}})
    found: list[dict[str, Any]] = []
    if sources:
        found.append({"name": TEMPLATES, "projected": {"sources": sources}})
    if settings is not None:
        found.append({"name": SETTINGS, **settings})
    found.append({"name": OUTPUT, "emptyDir": {"medium": "Memory", "sizeLimit": size}})
    found.append({"name": SCRATCH, "emptyDir": {"medium": "Memory", "sizeLimit": _SCRATCH_SIZE}})
    if delivery:  # a program, no secret: not for memory
        found.append({"name": DELIVERY, "emptyDir": {"sizeLimit": _DELIVERY_SIZE}})
    if handover:
        found.append({"name": HANDOVER, "emptyDir": {"medium": "Memory", "sizeLimit": size}})
    return found


def settings_of_config_map(name: str) -> dict[str, Any]:
    """A volume's source: the settings file of the ConfigMap *name*."""
    return {"configMap": {"name": name, "items": [{"key": SETTINGS_FILE, "path": SETTINGS_FILE}]}}


def settings_of_annotation(annotation: str) -> dict[str, Any]:
    """A volume's source: the settings file that is the value of *annotation*."""
    return {"downwardAPI": {"items": [{"path": SETTINGS_FILE, "fieldRef": _annotation(annotation)}]}}


def _annotation(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{name}']"}


def _lasting(plan: Plan) -> dict[str, Any]:
    # Status and health are asked by commands in the container, too (`kubectl exec … injector status`).
    host = "127.0.0.1" if plan.probes == "exec" else ""
    variables = [
        {"name": "INJECTOR_LISTEN", "value": f"{host}:{plan.port}"},
        {"name": "INJECTOR_CONTROL", "value": CONTROL},
    ]
    container = _container(plan, SIDECAR, ["run", *plan.arguments, *plan.lasting], variables)
    container["livenessProbe"] = _probe(plan, "live", 30, 3)
    container["readinessProbe"] = _probe(plan, "ready", 10, 3)
    if plan.probes == "http":
        container["ports"] = [{"name": "injector", "containerPort": plan.port, "protocol": "TCP"}]
    return container


def _container(plan: Plan, name: str, arguments: list[str], variables: list[dict[str, Any]]) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": name,
        "image": plan.image,
        # $(NAME) would be taken for a variable; a doubled dollar sign is one.
        "args": [argument.replace("$", "$$") for argument in arguments],
        "env": _environment(plan, variables),
        "resources": _resources(plan.resources),
        "securityContext": _security(plan),
        "volumeMounts": _mounts(plan),
        # What an error says last is seen by `kubectl describe`.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if plan.image_pull_policy:
        container["imagePullPolicy"] = plan.image_pull_policy
    return container


def _environment(plan: Plan, variables: list[dict[str, Any]]) -> list[dict[str, Any]]:
    own: list[dict[str, Any]] = [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
        {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}},
        {"name": "TMPDIR", "value": SCRATCH_PATH},
        *variables,
    ]
    if plan.has_settings:
        own.append({"name": "INJECTOR_CONFIG", "value": f"{SETTINGS_PATH}/{SETTINGS_FILE}"})
    if plan.hands_over:
        own.append({"name": "INJECTOR_HANDOVER", "value": HANDOVER_PATH})
    taken = {variable["name"] for variable in own}
    return [*own, *(dict(variable) for variable in plan.environment if variable["name"] not in taken)]


def _mounts(plan: Plan) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = []
    if plan.has_templates:
        mounts.append({"name": TEMPLATES, "mountPath": TEMPLATES_PATH, "readOnly": True})
    if plan.has_settings:
        mounts.append({"name": SETTINGS, "mountPath": SETTINGS_PATH, "readOnly": True})
    mounts.append({"name": OUTPUT, "mountPath": plan.output_path})
    mounts.append({"name": SCRATCH, "mountPath": SCRATCH_PATH})
    if plan.hands_over:
        mounts.append({"name": HANDOVER, "mountPath": HANDOVER_PATH})
    return [*mounts, *map(dict, plan.token_mounts)]


def _resources(resources: Resources) -> dict[str, Any]:
    pairs = {
        "requests": {"cpu": resources.requests_cpu, "memory": resources.requests_memory},
        "limits": {"cpu": resources.limits_cpu, "memory": resources.limits_memory},
    }
    given = {kind: {name: text for name, text in amounts.items() if text} for kind, amounts in pairs.items()}
    return {kind: amounts for kind, amounts in given.items() if amounts}


def _security(plan: Plan) -> dict[str, Any]:
    """All that the Pod Security Standard "restricted" asks for, said here, whatever the pod says."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": plan.user,
        "runAsGroup": plan.group,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _probe(plan: Plan, which: str, period: int, failures: int) -> dict[str, Any]:
    handler: dict[str, Any]
    if plan.probes == "http":
        path = {"startup": "/startupz", "live": "/livez", "ready": "/readyz"}[which]
        handler = {"httpGet": {"path": path, "port": plan.port, "scheme": "HTTP"}}
    else:
        handler = {"exec": {"command": ["injector", "health", f"--{which}"]}}
    return {**handler, "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures}
