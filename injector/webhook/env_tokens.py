"""
Tokens in the values of containers' `env`: each becomes a template, and the variable comes from the rendered file.

Either the kubelet reads the file (`fileKeyRef`), or a program of ours does that is started before the container's own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from injector.errors import AdmissionRefused
from injector.model.template import Source, Token
from injector.template.scanner import scan
from injector.webhook.catalogue import GENERATED_ENV, PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from injector.template.grammar import Grammar
    from injector.webhook.pod import Container, Variable

DIRECTORY: Final = "injector-env"
"""Below the templates and the rendered files; one file for each variable, so that no value can set another."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXPANSION: Final = re.compile(r"\$\([^)]*\)")
_OF_THE_LOADER: Final = frozenset({"LD_PRELOAD", "LD_AUDIT"})


class EnvToken(Struct, frozen=True):
    """
    The variable at `index` of the `env` of `container`; `annotation` holds its `template`, which lies at `path` among
    the templates, and its rendered file there in the output.
    """

    container: str
    index: int
    name: str
    annotation: str
    template: str
    path: str

    def written(self, volume: str) -> dict[str, Any]:
        """The variable, read from the output *volume*."""
        selector = {"volumeName": volume, "path": self.path, "key": self.name}
        return {"name": self.name, "valueFrom": {"fileKeyRef": selector}}


def find(containers: Iterable[Container], grammar: Grammar, *, env_files: bool) -> list[EnvToken]:
    """
    The variables of *containers* with tokens in them. With *env_files* the kubelet reads their files, and each is one
    line of an env file (`NAME='value'`); without, each is the value alone.

    Raises AdmissionRefused for what cannot be done either way.
    """
    found: list[EnvToken] = []
    for container in containers:
        before = len(found)
        for index, variable in enumerate(container.env or ()):
            if variable.value and grammar.token_separator in variable.value and _has_token(variable.value, grammar):
                _refuse_impossible(container, variable, env_files=env_files)
                template = f"{variable.name}='{variable.value}'\n" if env_files else variable.value
                path = f"{DIRECTORY}/{container.name}/{variable.name}"
                annotation = f"{GENERATED_ENV}{len(found)}"
                found.append(EnvToken(container.name, index, variable.name, annotation, template, path))
        if not env_files and len(found) > before:
            _refuse_unless_it_can_be_started(container, [token.name for token in found[before:]])
    return found


def _has_token(value: str, grammar: Grammar) -> bool:
    template = scan(Source("env", value.encode(errors="replace")), grammar)
    return bool(template.problems) or any(isinstance(piece, Token) for piece in template.pieces)


def _refuse_impossible(container: Container, variable: Variable, *, env_files: bool) -> None:
    value = variable.value or ""
    problem = None
    if not _NAME.fullmatch(variable.name):
        problem = "has a name that no env file can hold"
    elif env_files and "'" in value:
        problem = "holds a single quote beside its token, which no env file can hold"
    elif _EXPANSION.search(value):
        problem = "holds $(…) beside its token, and nobody would expand it"
    if problem:
        hint = f"write it into a template, or leave such variables alone by {PREFIX}env: off"
        raise AdmissionRefused(f"a variable of container {container.name} with a token {problem}", hint=hint)


def _refuse_unless_it_can_be_started(container: Container, names: list[str]) -> None:
    """
    The container's own command is started by a program of ours: it must be said, since nobody asks a registry for the
    image's. What the kubelet puts in place of `$(NAME)` would be the token's text.
    """
    ways = (
        f"render a file by {PREFIX}template-NAME for the application to read, put `injector exec` into its image, "
        f"leave such variables alone by {PREFIX}env: off, or let the operator set --env-file-key-ref (Kubernetes 1.35)"
    )
    whose = f"variable {names[0]} of container {container.name}"
    what = f"{whose} holds a token, and this cluster sets no variables from files"
    if not container.command:
        raise AdmissionRefused(
            f"{what}; the container names no command that injector could start with it",
            hint=f"write the image's command into the container (command), {ways}",
        )
    others = [variable.value or "" for variable in container.env or () if variable.name not in names]
    for text in (*container.command, *(container.args or ()), *others):
        used = next((name for name in names if f"$({name})" in text), None)
        if used is not None:
            raise AdmissionRefused(f"{what}; $({used}) would be the text of its token", hint=f"do without $(…), {ways}")
    loaded = {variable.name for variable in container.env or ()} & _OF_THE_LOADER
    if loaded:
        raise AdmissionRefused(f"{what}; {min(loaded)} would be loaded into injector's program, too", hint=ways)
