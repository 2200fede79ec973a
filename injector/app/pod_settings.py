"""
The settings of a sidecar in somebody else's pod, as far as the API server tells: arguments, variables, and the file.

Secrets are never read, and neither is anything of a container: what is in there is told as not seen.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from msgspec import Struct, field

from injector.errors import ClusterError, InjectorError, RunFailed
from injector.settings.load import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from injector.kube.access import Api
    from injector.settings.schema import Settings

_PREFIX: Final = "INJECTOR_"
_CONFIG: Final = "INJECTOR_CONFIG"
_LASTS: Final = "run"


class Seen(Struct):
    """
    `settings` of a sidecar; None when there are none that could be used, or the container does not last. `unseen` are
    the places that may say more, `problems` what is wrong with what was read.
    """

    settings: Settings | None = None
    unseen: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def settings_of(api: Api, pod: Mapping[str, Any], container: Mapping[str, Any]) -> Seen:
    """What the sidecar *container* of *pod* runs with, of what a right may be needed for: `events` and `notify`."""
    words = [
        str(word).replace("$$", "$") for word in (*(container.get("command") or ()), *(container.get("args") or ()))
    ]
    return _Reader(api, pod, container).read(words) if _LASTS in words[:2] else Seen()


class _Reader:
    def __init__(self, api: Api, pod: Mapping[str, Any], container: Mapping[str, Any]) -> None:
        self._api = api
        self._pod = pod
        self._container = container
        self._seen = Seen()
        self._maps: dict[str, Mapping[str, str] | None] = {}

    def read(self, words: Sequence[str]) -> Seen:
        variables = self._variables()
        flags = {"events": _switch(words, "events"), "notify": _values(words, "--notify")}
        named = _values(words, "--config")
        path = named[-1] if named else variables.pop(_CONFIG, "")
        variables.pop(_CONFIG, None)
        text = self._file(path) if path else None
        try:
            self._seen.settings = _loaded(text, variables, flags)
        except InjectorError as error:
            for each in error.errors if isinstance(error, RunFailed) else (error,):
                where = f"{path}, line {each.place.line}: " if each.place and text is not None else ""
                self._seen.problems.append(f"{where}{each.message}")
        return self._seen

    # --------------------------------------------------------------------------------------------------- variables

    def _variables(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in self._container.get("envFrom") or ():
            prefix = source.get("prefix", "")
            if "secretRef" in source:
                self._seen.unseen.append(f"the variables of Secret {source['secretRef'].get('name')}")
            elif "configMapRef" in source:
                data = self._config_map(source["configMapRef"].get("name", "")) or {}
                found |= {f"{prefix}{name}": text for name, text in data.items()}
        for variable in self._container.get("env") or ():
            name = str(variable.get("name", ""))
            if not name.startswith(_PREFIX):
                continue
            text = self._variable(name, variable)
            if text is not None:
                found[name] = text
        return {name: text for name, text in found.items() if name.startswith(_PREFIX)}

    def _variable(self, name: str, variable: Mapping[str, Any]) -> str | None:
        source = variable.get("valueFrom")
        if source is None:
            return str(variable.get("value", ""))
        if "configMapKeyRef" in source:
            chosen = source["configMapKeyRef"]
            return (self._config_map(chosen.get("name", "")) or {}).get(chosen.get("key", ""))
        if "fieldRef" in source:
            text = self._field(source["fieldRef"].get("fieldPath", ""))
            if text is not None:
                return text
        self._seen.unseen.append(f"the variable {name}, which comes from {next(iter(source), 'elsewhere')}")
        return None

    # ---------------------------------------------------------------------------------------------------- the file

    def _file(self, path: str) -> str | None:
        """The text of the settings file; None, and a line of `unseen`, when it cannot be seen from here."""
        mounts = [
            mount
            for mount in self._container.get("volumeMounts") or ()
            if PurePosixPath(path).is_relative_to(mount.get("mountPath", "/"))
        ]
        if not mounts:
            self._seen.unseen.append(f"the settings file {path}, which lies in the image")
            return None
        mount = max(mounts, key=lambda each: len(PurePosixPath(each["mountPath"]).parts))
        below = str(PurePosixPath(path).relative_to(mount["mountPath"]))
        inside = "/".join(part for part in (mount.get("subPath", ""), below) if part not in ("", "."))
        volumes: list[dict[str, Any]] = self._pod.get("spec", {}).get("volumes") or []
        volume = next((each for each in volumes if each.get("name") == mount.get("name")), {})
        for kind, source in _sources(volume):
            text = self._from(kind, source, inside)
            if text is not None:
                return text
        kinds = [kind for kind, _ in _sources(volume)] or [kind for kind in volume if kind != "name"]
        where = f"not to be read in its volume ({', '.join(kinds)})" if kinds else "in a volume that the pod has not"
        self._seen.unseen.append(f"the settings file {path}, which is {where}")
        return None

    def _from(self, kind: str, source: Mapping[str, Any], inside: str) -> str | None:
        items = source.get("items")
        if kind == "downwardAPI":
            for item in items or ():
                if item.get("path") == inside and "fieldRef" in item:
                    return self._field(item["fieldRef"].get("fieldPath", ""))
            return None
        if kind != "configMap":
            return None
        data = self._config_map(source.get("name", "")) or {}
        if items is None:
            return data.get(inside)
        return next((data.get(item.get("key", "")) for item in items if item.get("path") == inside), None)

    # ----------------------------------------------------------------------------------------------------- sources

    def _field(self, path: str) -> str | None:
        metadata = self._pod.get("metadata", {})
        for kind in ("annotations", "labels"):
            if path.startswith(f"metadata.{kind}['") and path.endswith("']"):
                found: str | None = (metadata.get(kind) or {}).get(path[len(f"metadata.{kind}['") : -2], "")
                return found
        name = path.removeprefix("metadata.")
        return str(metadata[name]) if name in ("name", "namespace", "uid") and name in metadata else None

    def _config_map(self, name: str) -> Mapping[str, str] | None:
        if name not in self._maps:
            namespace = quote(self._pod["metadata"]["namespace"], safe="")
            try:
                found = self._api.call("GET", f"/api/v1/namespaces/{namespace}/configmaps/{quote(name, safe='')}")
                self._maps[name] = found.get("data") or {}
            except ClusterError as error:
                self._maps[name] = None
                self._seen.unseen.append(f"ConfigMap {name} ({error.message})")
        return self._maps[name]


def _sources(volume: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Kind and source of *volume*; of a projected one, of each that it is made of."""
    for kind in ("configMap", "downwardAPI", "secret"):
        if kind in volume:
            yield kind, volume[kind] or {}
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield from ((kind, given or {}) for kind, given in source.items())


def _switch(words: Sequence[str], name: str) -> bool | None:
    given = [word for word in words if word in (f"--{name}", f"--no-{name}")]
    return None if not given else given[-1] == f"--{name}"


def _values(words: Sequence[str], flag: str) -> list[str]:
    joined = [word.removeprefix(f"{flag}=") for word in words if word.startswith(f"{flag}=")]
    apart = [following for word, following in itertools.pairwise(words) if word == flag]
    return [*joined, *apart]


def _loaded(text: str | None, variables: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    if text is None:
        return load(path=None, environ=variables, flags=flags)
    with tempfile.TemporaryDirectory(prefix="injector-doctor-") as directory:
        path = Path(directory, "injector.yaml")
        path.write_text(text, encoding="utf-8")
        return load(path=path, environ=variables, flags=flags)
