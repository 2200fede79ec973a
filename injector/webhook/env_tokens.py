"""Tokens in the values of containers' `env`: each becomes a template, and the variable comes from the rendered file."""

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


def find(containers: Iterable[Container], grammar: Grammar) -> list[EnvToken]:
    """
    The variables of *containers* with tokens in them.

    Raises AdmissionRefused for one that cannot be written as an env file of the kubelet (`NAME='value'`).
    """
    found: list[EnvToken] = []
    for container in containers:
        for index, variable in enumerate(container.env or ()):
            if variable.value and grammar.token_separator in variable.value and _has_token(variable.value, grammar):
                template = _template(container, variable)
                path = f"{DIRECTORY}/{container.name}/{variable.name}"
                annotation = f"{GENERATED_ENV}{len(found)}"
                found.append(EnvToken(container.name, index, variable.name, annotation, template, path))
    return found


def _has_token(value: str, grammar: Grammar) -> bool:
    template = scan(Source("env", value.encode(errors="replace")), grammar)
    return bool(template.problems) or any(isinstance(piece, Token) for piece in template.pieces)


def _template(container: Container, variable: Variable) -> str:
    value = variable.value or ""
    problem = None
    if not _NAME.fullmatch(variable.name):
        problem = "has a name that no env file can hold"
    elif "'" in value:
        problem = "holds a single quote beside its token, which no env file can hold"
    elif _EXPANSION.search(value):
        problem = "holds $(…) beside its token, and nobody would expand it"
    if problem:
        hint = f"write it into a template, or leave such variables alone by {PREFIX}env: off"
        raise AdmissionRefused(f"a variable of container {container.name} with a token {problem}", hint=hint)
    return f"{variable.name}='{value}'\n"


def refuse_without_env_files(tokens: list[EnvToken]) -> None:
    """Raises AdmissionRefused: the cluster cannot set variables from files, and *tokens* has some."""
    if tokens:
        token = tokens[0]
        raise AdmissionRefused(
            f"variable {token.name} of container {token.container} holds a token, and this cluster sets no variables "
            "from files",
            hint=f"render a file by {PREFIX}template-NAME, leave such variables alone by {PREFIX}env: off, or let the "
            "operator set --env-file-key-ref (Kubernetes 1.35)",
        )
