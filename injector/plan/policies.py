"""Permissions as documents that each provider takes: the least that a set of references needs, and nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.plan.permissions import Permission, Provider

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from injector.plan.permissions import Surroundings


def aws_policy(permissions: Iterable[Permission], where: Surroundings) -> dict[str, object]:
    """
    An IAM policy document: a statement for each set of actions, and one for the keys, if there are any.

    Decrypting is allowed through the service only (`kms:ViaService`): the role cannot use the keys for anything else.
    """
    grouped: dict[tuple[str, ...], list[str]] = {}
    for each in _of(Provider.AWS, permissions):
        grouped.setdefault(each.actions, []).append(each.resource)
    statements: list[dict[str, object]] = [
        {"Sid": _sid(actions), "Effect": "Allow", "Action": list(actions), "Resource": sorted(resources)}
        for actions, resources in sorted(grouped.items())
    ]
    if where.kms_keys and statements:
        services = sorted({actions[0].partition(":")[0] for actions in grouped})
        via = [f"{service}.{where.region}.amazonaws.com" for service in services]
        statements.append(
            {
                "Sid": "Decrypt",
                "Effect": "Allow",
                "Action": ["kms:Decrypt"],
                "Resource": sorted(where.kms_keys),
                "Condition": {"StringLike": {"kms:ViaService": via}},
            }
        )
    return {"Version": "2012-10-17", "Statement": statements}


def _sid(actions: Sequence[str]) -> str:
    return {"ssm": "ReadParameters", "secretsmanager": "ReadSecrets"}[actions[0].partition(":")[0]]


def vault_policy(permissions: Iterable[Permission]) -> str:
    """A policy in HCL for `vault policy write`; paths of the KV version 2 engine."""
    stanzas = [
        f'path "{_hcl(each.resource)}" {{\n  capabilities = ["read"]\n}}\n' for each in _of(Provider.VAULT, permissions)
    ]
    return "\n".join(stanzas)


def _hcl(text: str) -> str:
    # `${` and `%{` begin an expression in HCL; a path is text.
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return escaped.replace("${", "$${").replace("%{", "%%{")


def google_bindings(permissions: Iterable[Permission], member: str) -> list[dict[str, str]]:
    """The IAM bindings of each secret: `resource`, `role`, `member`."""
    return [
        {"resource": each.resource, "role": role, "member": member}
        for each in _of(Provider.GCP, permissions)
        for role in each.actions
    ]


def azure_assignments(permissions: Iterable[Permission], principal: str) -> list[dict[str, str]]:
    """The role assignments, as `az role assignment create` takes them: `role`, `scope`, `assignee`."""
    return [
        {"role": role, "scope": each.resource, "assignee": principal}
        for each in _of(Provider.AZURE, permissions)
        for role in each.actions
    ]


def _of(provider: Provider, permissions: Iterable[Permission]) -> list[Permission]:
    return sorted({each for each in permissions if each.provider is provider})
