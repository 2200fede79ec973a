"""From a pod to the operations that give it the sidecar. Pure: no I/O, no clock, the same answer for the same pod."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from injector.errors import AdmissionRefused, SettingsError
from injector.template.grammar import KNOWN_PREFIXES, Grammar
from injector.webhook import catalogue, env_tokens, identity, patch, sidecar
from injector.webhook.catalogue import GENERATED_SETTINGS, INJECT, PREFIX, STATUS
from injector.webhook.defaults import Defaults, Resources
from injector.webhook.settings_file import generate
from injector.webhook.wishes import read, refuse, refuse_what_needs_a_sidecar

if TYPE_CHECKING:
    from injector.webhook.env_tokens import EnvToken
    from injector.webhook.patch import Operation
    from injector.webhook.pod import Container, Mount, Pod, PodSecurity
    from injector.webhook.wishes import Wishes

_MOST_ANNOTATIONS: Final = 256 * 1024  # bytes of all keys and values, the API server's own limit
_OFF: Final = frozenset({"disabled", "false"})


class Answer(Struct, frozen=True):
    """What becomes of a pod: nothing when there are no `operations`. `result` is for the metrics."""

    result: str
    operations: tuple[Operation, ...] = ()
    warnings: tuple[str, ...] = ()


def mutate(pod: Pod, defaults: Defaults) -> Answer:
    """
    What *pod* gets. One that has it already gets nothing.

    Raises AdmissionRefused.
    """
    label = pod.labels.get(INJECT, "")
    if label in _OFF or pod.annotations.get(INJECT) in _OFF:
        return Answer("disabled")
    if not label and not any(key.startswith(PREFIX) for key in pod.annotations):
        return Answer("unasked")
    if _has_ours(pod):
        return Answer("injected-before")
    if pod.is_for_windows:
        return Answer("unsupported", warnings=("not injected: the pod is for Windows, and injector runs on Linux",))
    return _Injection(pod, defaults).answer()


def _has_ours(pod: Pod) -> bool:
    """
    Whether the pod was changed before. Containers or volumes with our names that are somebody else's are refused: the
    pod would start without its files, or with another's.
    """
    containers = [*(pod.spec.init_containers or ()), *pod.spec.containers]
    named = [container.name for container in containers if container.name in sidecar.CONTAINER_NAMES]
    volumes = [volume.name for volume in pod.spec.volumes or () if volume.name in sidecar.VOLUME_NAMES]
    marked = pod.annotations.get(STATUS) == catalogue.INJECTED
    if marked and named and sidecar.OUTPUT in volumes:
        return True
    if named or volumes:
        what = f"container {named[0]}" if named else f"volume {volumes[0]}"
        raise AdmissionRefused(f"the pod has a {what}, which is a name of injector's own", hint="give it another name")
    return False


class _Injection:
    """One pod's injection; what several steps need is worked out once."""

    def __init__(self, pod: Pod, defaults: Defaults) -> None:
        self._pod = pod
        self._defaults = defaults
        self._wishes = wishes = read(pod.annotations)
        self._warnings = list(wishes.warnings)
        self._mode: str = wishes.get("mode", defaults.mode)
        self._output: str = wishes.get("mount-path", defaults.mount_path)
        self._chosen = _chosen(pod, wishes)
        self._grammar = self._read_grammar()
        self._env = self._env_tokens()
        self._generated = generate(wishes) if wishes.overrides else None

    def answer(self) -> Answer:
        if not self._wishes.renders and not self._env:
            hint = f"set {PREFIX}templates to a ConfigMap, or {PREFIX}template-NAME to a text"
            raise AdmissionRefused("the pod asks for injection, and says of no template", hint=hint)
        if self._mode == "init":
            refuse_what_needs_a_sidecar(self._wishes)
        self._refuse_conflicts()
        operations = (
            *self._annotations(),
            *self._volumes(),
            *self._mounts(),  # before containers are added: pointers count from the first
            *self._variables(),
            *self._containers(),
            *self._process_namespace(),
        )
        self._warn()
        return Answer("injected", operations, tuple(self._warnings))

    def _read_grammar(self) -> Grammar:
        flags = self._wishes.flags
        try:
            return Grammar(KNOWN_PREFIXES, flags.get("token-separator", "://"), flags.get("key-separator", "|"))
        except SettingsError as error:  # whose message has the value
            refuse("token-separator", "it or the key-separator cannot stand in a token", hint=error.hint)

    def _env_tokens(self) -> list[EnvToken]:
        if self._wishes.get("env") == "off":
            return []
        containers = (container for _, container in self._chosen)
        return env_tokens.find(containers, self._grammar, env_files=self._defaults.env_files)

    @property
    def _started_by_us(self) -> dict[str, list[str]]:
        """The containers whose command a program of ours starts, each with the variables that it sets."""
        found: dict[str, list[str]] = {}
        if not self._defaults.env_files:
            for token in self._env:
                found.setdefault(token.container, []).append(token.name)
        return found

    def _refuse_conflicts(self) -> None:
        for pointer, container in self._chosen:
            if pointer.startswith("/spec/initContainers") and not self._wishes.get("init-first"):
                hint = f"set {PREFIX}init-first to true"
                refuse("containers", f"init container {container.name} starts before injector's", hint=hint)
            for mount in container.volume_mounts or ():
                delivered = container.name in self._started_by_us and _overlaps(mount, sidecar.DELIVERY_PATH)
                if delivered:
                    reason = f"container {container.name} has something mounted at {sidecar.DELIVERY_PATH}"
                    refuse("env", reason, hint="injector's program for its variables must lie there")
                if _overlaps(mount, self._output):
                    hint = f"set {PREFIX}mount-path to another path"
                    refuse("mount-path", f"container {container.name} has something mounted there", hint=hint)
        for own in sidecar.PATHS:
            if f"{self._output}/".startswith(f"{own}/") or f"{own}/".startswith(f"{self._output}/"):
                refuse("mount-path", f"injector's own container needs {own}")

    def _annotations(self) -> list[Operation]:
        added = {STATUS: catalogue.INJECTED} | {token.annotation: token.template for token in self._env}
        if self._generated is not None:
            added[GENERATED_SETTINGS] = self._generated
        present = self._pod.annotations
        size = sum(len(key) + len(text.encode(errors="replace")) for key, text in (present | added).items())
        if size > _MOST_ANNOTATIONS:
            hint = f"put templates into a ConfigMap, and name it by {PREFIX}templates"
            raise AdmissionRefused("annotations would be larger than the 256 KiB that a pod may have", hint=hint)
        existing = self._pod.metadata and self._pod.metadata.annotations
        if self._pod.metadata is None:
            return [{"op": "add", "path": "/metadata", "value": {"annotations": added}}]
        return patch.add_members("/metadata/annotations", existing, added)

    def _volumes(self) -> list[Operation]:
        wishes = self._wishes
        fields = [(inline.path, inline.annotation) for inline in wishes.inline]
        fields += [(token.path, token.annotation) for token in self._env]
        added = sidecar.volumes(
            config_maps=wishes.get("templates", ()),
            fields=fields,
            settings=self._settings_source(),
            size=self._pod.annotations.get(f"{PREFIX}volume-size", self._defaults.volume_size),
            handover=self._mode == "sidecar",
            delivery=bool(self._started_by_us),
        )
        return patch.append("/spec/volumes", self._pod.spec.volumes, added)

    def _settings_source(self) -> dict[str, Any] | None:
        if "config" in self._wishes.values:
            return sidecar.settings_of_config_map(self._wishes.get("config"))
        if "settings" in self._wishes.values:
            return sidecar.settings_of_annotation(f"{PREFIX}settings")
        return None if self._generated is None else sidecar.settings_of_annotation(GENERATED_SETTINGS)

    def _containers(self) -> list[Operation]:
        plan = self._plan()
        spec = self._pod.spec
        before = sidecar.native_sidecar(plan) if self._mode == "native-sidecar" else sidecar.init_container(plan)
        first = bool(self._wishes.get("init-first"))
        added = [sidecar.delivery(plan), before] if self._started_by_us else [before]
        operations = patch.append("/spec/initContainers", spec.init_containers, added, first=first)
        if self._mode == "sidecar":
            operations += patch.append("/spec/containers", spec.containers, [sidecar.sidecar(plan)])
        return operations

    def _plan(self) -> sidecar.Plan:
        wishes, defaults = self._wishes, self._defaults
        user, group, mode = self._user()
        containers = [container for _, container in self._chosen]
        templates = self._templates()
        taken = (self._output, *sidecar.PATHS)
        return sidecar.Plan(
            image=wishes.get("image", defaults.image),
            image_pull_policy=wishes.get("image-pull-policy", defaults.image_pull_policy),
            resources=_resources(wishes, defaults.resources),
            user=user,
            group=group,
            output_path=self._output,
            has_templates=bool(templates),
            has_settings=self._settings_source() is not None,
            hands_over=self._mode == "sidecar",
            arguments=[*self._inputs(templates), *self._flags(mode)],
            lasting=self._lasting_flags(),
            environment=[*self._settings_variables(), *identity.variables(containers, wishes.get("pass-env", ()))],
            token_mounts=identity.mounts(containers, wishes.get("service-account-token-volume-name"), taken),
            probes=wishes.get("probes", defaults.probes),
            port=wishes.get("port", defaults.port),
        )

    def _templates(self) -> list[str]:
        mounted = self._wishes.get("templates") or self._wishes.inline or self._env
        return [sidecar.TEMPLATES_PATH] if mounted else []

    def _inputs(self, templates: list[str]) -> list[str]:
        return [*templates, *self._wishes.get("template-path", ()), f"--output-dir={self._output}"]

    def _flags(self, mode: str) -> list[str]:
        flags = {name: text for name, text in self._wishes.flags.items() if name in catalogue.FLAGS}
        return [f"--mode={mode}", *(_flag(name, text) for name, text in flags.items())]

    def _lasting_flags(self) -> list[str]:
        flags = {name: text for name, text in self._wishes.flags.items() if name in catalogue.LASTING_FLAGS}
        # Generated settings have them already, and flags would go before those of single templates.
        notify = self._wishes.notify if self._generated is None else ()
        return [*(_flag(name, text) for name, text in flags.items()), *(f"--notify={line}" for line in notify)]

    def _settings_variables(self) -> list[dict[str, str]]:
        flags = {name: text for name, text in self._wishes.flags.items() if name in catalogue.VARIABLES}
        return [{"name": f"INJECTOR_{name.replace('-', '_').upper()}", "value": text} for name, text in flags.items()]

    def _user(self) -> tuple[int, int, str]:
        """User, group and permission bits of files, so that the containers can read them."""
        wishes, pod_wide = self._wishes, self._pod.spec.security_context
        shared = self._shared_user()
        same = wishes.get("run-as-same-user", shared is not None and "run-as-user" not in wishes.values)
        if same and shared is None:
            reason = "the containers have no runAsUser, not the same one, or root's"
            refuse("run-as-same-user", reason, hint=f"set their securityContext, or {PREFIX}run-as-user")
        user, group = self._defaults.user, self._defaults.group
        mode = "0640" if pod_wide and pod_wide.fs_group is not None else "0644"
        if same and shared is not None:
            user, group, mode = shared[0], shared[1] or group, "0600"
        user, group = wishes.get("run-as-user", user), wishes.get("run-as-group", group)
        return user, group, self._pod.annotations.get(f"{PREFIX}perms", mode)

    def _shared_user(self) -> tuple[int, int | None] | None:
        """User and group that all chosen containers run as; None when they have none in common, or it is root."""
        pod_wide = self._pod.spec.security_context
        found = {_account(container, pod_wide) for _, container in self._chosen}
        users = {user for user, _ in found}
        user = users.pop()
        if users or not user:
            return None
        groups = {group for _, group in found}
        return user, groups.pop() if len(groups) == 1 else None

    def _mounts(self) -> list[Operation]:
        mount = {"name": sidecar.OUTPUT, "mountPath": self._output, "readOnly": True}
        program = {"name": sidecar.DELIVERY, "mountPath": sidecar.DELIVERY_PATH, "readOnly": True}
        started = self._started_by_us
        operations: list[Operation] = []
        for pointer, container in self._chosen:
            added = [mount, program] if container.name in started else [mount]
            operations += patch.append(f"{pointer}/volumeMounts", container.volume_mounts, added)
        return operations

    def _variables(self) -> list[Operation]:
        started = self._started_by_us
        if started:
            return [
                {
                    "op": "replace",
                    "path": f"{pointer}/command",
                    "value": sidecar.started_by(
                        f"{self._output}/{env_tokens.DIRECTORY}/{container.name}",
                        started[container.name],
                        container.command or (),
                    ),
                }
                for pointer, container in self._chosen
                if container.name in started
            ]
        pointers = {container.name: pointer for pointer, container in self._chosen}
        return [
            {
                "op": "replace",
                "path": f"{pointers[token.container]}/env/{token.index}",
                "value": token.written(sidecar.OUTPUT),
            }
            for token in self._env
        ]

    def _process_namespace(self) -> list[Operation]:
        spec = self._pod.spec
        if not self._wishes.get("share-process-namespace"):
            return []
        if spec.host_pid:
            refuse("share-process-namespace", "the pod has hostPID, which excludes it")
        if spec.share_process_namespace is False:
            refuse("share-process-namespace", "the pod's own shareProcessNamespace says no")
        return (
            []
            if spec.share_process_namespace
            else [{"op": "add", "path": "/spec/shareProcessNamespace", "value": True}]
        )

    def _warn(self) -> None:
        spec, wishes, warn = self._pod.spec, self._wishes, self._warnings.append
        shared = spec.share_process_namespace or spec.host_pid or wishes.get("share-process-namespace")
        if any(action.kind == "signal" for action in wishes.actions) and not shared:
            warn(f"signals reach no other container: set {PREFIX}share-process-namespace to true")
        if spec.host_network and self._mode != "init":
            port = wishes.get("port", self._defaults.port)
            warn(f"hostNetwork: port {port} of the node is used; of two such pods on a node, give one {PREFIX}port")
        if self._started_by_us:
            warn(
                "variables with tokens are set for the containers' own commands: probes and exec see the tokens' texts"
            )
        if self._mode == "sidecar" and self._pod.is_of_a_job:
            warn(f"the sidecar keeps the Job from ending: set {PREFIX}mode to native-sidecar or init")


def _chosen(pod: Pod, wishes: Wishes) -> list[tuple[str, Container]]:
    """The containers that get the files, each with its JSON pointer; init containers only when they are named."""
    spec = pod.spec
    regular = [(f"/spec/containers/{index}", container) for index, container in enumerate(spec.containers)]
    if not regular:
        raise AdmissionRefused("the pod has no containers")
    names = wishes.get("containers")
    if names is None:
        return regular
    before = [(f"/spec/initContainers/{index}", item) for index, item in enumerate(spec.init_containers or ())]
    by_name = {container.name: (pointer, container) for pointer, container in [*before, *regular]}
    for name in names:
        if name not in by_name:
            near = difflib.get_close_matches(name, by_name, n=1)
            refuse("containers", f"there is no container {name}", hint=f"did you mean {near[0]}?" if near else None)
    return [by_name[name] for name in names]


def _account(container: Container, pod_wide: PodSecurity | None) -> tuple[int | None, int | None]:
    """User and group that *container* runs as; None for what the image decides."""
    own = container.security_context
    user = own.run_as_user if own else None
    group = own.run_as_group if own else None
    if pod_wide:
        user = pod_wide.run_as_user if user is None else user
        group = pod_wide.run_as_group if group is None else group
    return user, group


def _overlaps(mount: Mount, path: str) -> bool:
    other = mount.mount_path.rstrip("/") or "/"
    return other == path or other.startswith(f"{path}/")


def _resources(wishes: Wishes, defaults: Resources) -> Resources:
    return Resources(
        requests_cpu=wishes.get("requests-cpu", defaults.requests_cpu),
        requests_memory=wishes.get("requests-memory", defaults.requests_memory),
        limits_cpu=wishes.get("limits-cpu", defaults.limits_cpu),
        limits_memory=wishes.get("limits-memory", defaults.limits_memory),
    )


def _flag(name: str, text: str) -> str:
    if catalogue.PLAIN[name].expects == "true or false":
        return f"--{name}" if catalogue.PLAIN[name].parse(text) else f"--no-{name}"
    return f"--{name}={text}"
