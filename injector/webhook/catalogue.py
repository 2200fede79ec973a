"""Every label and annotation, with the kind of its value. docs/annotations.md says the same to users."""

from __future__ import annotations

import difflib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from injector.settings import kinds as settings_kinds
from injector.settings.schema import DOMAIN
from injector.webhook import kinds

if TYPE_CHECKING:
    from injector.settings.kinds import Kind

PREFIX: Final = f"{DOMAIN}/"
INJECT: Final = f"{PREFIX}inject"
STATUS: Final = f"{PREFIX}status"
INJECTED: Final = "injected"
GENERATED_SETTINGS: Final = f"{PREFIX}generated-settings"
GENERATED_ENV: Final = f"{PREFIX}generated-env-"
"""Followed by a number: each holds the template of one variable."""

# As of another module, kube.rollout, which belongs to a process that imports kubernetes.
_OF_ROLLOUTS: Final = ("content-hash", "content-changed-at")

FLAGS: Final[dict[str, Kind]] = {
    "on-missing": settings_kinds.ON_MISSING,
    "default-value": settings_kinds.TEXT,
    "timeout": settings_kinds.DURATION,
    "envsubst": settings_kinds.BOOLEAN,
    "token-separator": settings_kinds.SEPARATOR,
    "key-separator": settings_kinds.CHARACTER,
}
"""Annotations that are flags of the same name, of `injector run` and of `injector init`."""

VARIABLES: Final[dict[str, Kind]] = {
    "log-level": settings_kinds.LOG_LEVEL,
    "log-format": settings_kinds.LOG_FORMAT,
}
"""Settings without a flag: INJECTOR_LOG_LEVEL, INJECTOR_LOG_FORMAT."""

LASTING_FLAGS: Final[dict[str, Kind]] = {
    "refresh": settings_kinds.DURATION_OR_OFF,
    "on-error": settings_kinds.ON_ERROR,
    "max-stale": settings_kinds.DURATION_OR_OFF,
    "splay": settings_kinds.DURATION_OR_OFF,
    "debounce-min": settings_kinds.DURATION,
    "debounce-max": settings_kinds.DURATION,
    "rescan": settings_kinds.DURATION,
    "prune": settings_kinds.BOOLEAN,
}
"""Those of `injector run` alone."""

SHAPE: Final[dict[str, Kind]] = {
    "inject": kinds.INJECT,
    "templates": kinds.CONFIG_MAPS,
    "template-path": kinds.ABSOLUTE_PATHS,
    "config": kinds.CONFIG_MAP,
    "settings": settings_kinds.TEXT,
    "notify": settings_kinds.NOTIFY,
    "perms": settings_kinds.MODE,
    "mode": kinds.MODE,
    "containers": kinds.NAMES,
    "mount-path": kinds.ABSOLUTE_PATH,
    "volume-size": settings_kinds.SIZE,
    "init-first": settings_kinds.BOOLEAN,
    "env": kinds.ENV,
    "pass-env": kinds.VARIABLE_NAMES,
    "service-account-token-volume-name": kinds.VOLUME,
    "image": kinds.IMAGE,
    "image-pull-policy": kinds.PULL_POLICY,
    "requests-cpu": kinds.QUANTITY,
    "requests-memory": kinds.QUANTITY,
    "limits-cpu": kinds.QUANTITY,
    "limits-memory": kinds.QUANTITY,
    "run-as-same-user": settings_kinds.BOOLEAN,
    "run-as-user": kinds.IDENTITY,
    "run-as-group": kinds.IDENTITY,
    "share-process-namespace": settings_kinds.BOOLEAN,
    "probes": kinds.PROBES,
    "port": kinds.LISTEN_PORT,
}
"""Those that say what the pod gets."""

OF_ONE_TEMPLATE: Final[dict[str, Kind]] = {
    "template-": settings_kinds.TEXT,
    "file-": kinds.RELATIVE_PATH,
    "perms-": settings_kinds.MODE,
    "on-missing-": settings_kinds.ON_MISSING,
    "notify-": settings_kinds.NOTIFY,
}
"""Those that are followed by the name of a template."""

ONLY_LASTING: Final = frozenset({*LASTING_FLAGS, "notify", "notify-", "probes", "port"})
"""What a container that ends has no use for."""

PLAIN: Final[dict[str, Kind]] = {**FLAGS, **VARIABLES, **LASTING_FLAGS, **SHAPE}
"""All but those of one template."""

_OURS: Final = frozenset({"status", "generated-settings", *_OF_ROLLOUTS})


def family_of(name: str) -> str:
    """The key of `OF_ONE_TEMPLATE` that *name* (without the domain) belongs to; empty when it is of none."""
    if name in PLAIN:  # template-path is no template called path
        return ""
    return next((family for family in OF_ONE_TEMPLATE if name.startswith(family) and len(name) > len(family)), "")


def is_written_by_us(name: str) -> bool:
    """Whether *name* (without the domain) is one that users have no business with."""
    return name in _OURS or name.startswith("generated-env-")


@lru_cache(maxsize=256)  # a Deployment's pods are all misspelt alike
def nearest(name: str) -> str | None:
    """The annotation that *name*, which is none, probably means; None when nothing is near."""
    if len(name) > 63:  # longer than any that Kubernetes takes
        return None
    head, dash, rest = name.partition("-")
    families = [family.removesuffix("-") for family in OF_ONE_TEMPLATE]
    close = difflib.get_close_matches(name, PLAIN, n=1, cutoff=0.75)
    if close:
        return close[0]
    family = difflib.get_close_matches(head, families, n=1, cutoff=0.75)
    if family and dash and rest:
        return f"{family[0]}-{rest}"
    close = difflib.get_close_matches(name, PLAIN, n=1, cutoff=0.6)
    return close[0] if close else None
