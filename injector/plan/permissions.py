"""
What a reference needs to be allowed, by the rules of the store that its prefix stands for.

How a path names a thing is configmanager's convention for each prefix (its README, "Provider specific"): AWSPARAMSTR
and AWSSECRETS take the name, AZKVSECRET vault/secret, AZAPPCONF store/key, AZTABLESTORE account/table/partition/row,
VAULT mount___path, GCPSECRETS the secret or projects/P/secrets/S. Other prefixes belong to plugins that nobody here
knows.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from injector.model.references import Reference

ANY = "*"


class Provider(StrEnum):
    """Whose access rules they are."""

    AWS = "aws"
    VAULT = "vault"
    GCP = "gcp"
    AZURE = "azure"


class Permission(Struct, frozen=True, order=True):
    """
    `actions` on `resource`, in the provider's own words: actions of IAM and an ARN, capabilities and a path of Vault, a
    role and a resource name of Google, a role and a scope of Azure. What a path does not tell is `*` (AWS, Google) or
    `<SUBSCRIPTION>` and the like (Azure).
    """

    provider: Provider
    resource: str
    actions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.actions)} on {self.resource}"


class Surroundings(Struct, frozen=True):
    """What no path tells: the account that the things are in. `kms_keys` are ARNs of the keys that encrypt them."""

    region: str = ANY
    account: str = ANY
    project: str = ANY
    subscription: str = "<SUBSCRIPTION>"
    resource_group: str = "<RESOURCE-GROUP>"
    partition: str = "aws"
    kms_keys: tuple[str, ...] = ()


def permission(reference: Reference, where: Surroundings = Surroundings()) -> Permission | None:  # noqa: B008 - frozen
    """What *reference* needs; None for a prefix whose rules are not known here."""
    rule = _RULES.get(reference.prefix)
    return rule(reference.path, where) if rule else None


def permissions(references: Iterable[Reference], where: Surroundings) -> tuple[Permission, ...]:
    """What all of them need, each permission once, sorted by provider and resource."""
    return tuple(sorted({found for reference in references if (found := permission(reference, where))}))


def _aws_parameter(path: str, where: Surroundings) -> Permission:
    # A parameter's name is `a` or `/a/b`; its ARN has one slash between "parameter" and either.
    arn = f"arn:{where.partition}:ssm:{where.region}:{where.account}:parameter/{path.lstrip('/')}"
    return Permission(Provider.AWS, arn, ("ssm:GetParameter", "ssm:GetParameters"))


def _aws_secret(path: str, where: Surroundings) -> Permission:
    # Secrets Manager appends a dash and six random characters to the name in the ARN.
    name = path if path.startswith("arn:") else None
    arn = name or f"arn:{where.partition}:secretsmanager:{where.region}:{where.account}:secret:{path}-??????"
    return Permission(Provider.AWS, arn, ("secretsmanager:GetSecretValue",))


def _azure(kind: str, role: str, inside: Callable[[list[str]], str]) -> Callable[[str, Surroundings], Permission]:
    def rule(path: str, where: Surroundings) -> Permission:
        name, *rest = path.lstrip("/").split("/")
        group = f"/subscriptions/{where.subscription}/resourceGroups/{where.resource_group}"
        return Permission(Provider.AZURE, f"{group}/providers/{kind}/{name}{inside(rest)}", (role,))

    return rule


def _key_vault_secret(rest: list[str]) -> str:
    names = [part for part in rest if part]
    return f"/secrets/{names[0]}" if names else ""


def _table(rest: list[str]) -> str:
    return f"/tableServices/default/tables/{rest[0]}" if rest else ""


def _vault(path: str, where: Surroundings) -> Permission:  # noqa: ARG001 - one shape for all rules
    mount, separator, inner = path.lstrip("/").partition("___")
    if not separator:
        mount, _, inner = mount.partition("/")
    return Permission(Provider.VAULT, f"{mount.strip('/')}/data/{inner.lstrip('/')}", ("read",))


def _google(path: str, where: Surroundings) -> Permission:
    parts = path.strip("/").split("/")
    known = dict(zip(parts[::2], parts[1::2], strict=False)) if parts[0] == "projects" else {}
    project, secret = known.get("projects", where.project), known.get("secrets", path.strip("/"))
    return Permission(Provider.GCP, f"projects/{project}/secrets/{secret}", ("roles/secretmanager.secretAccessor",))


_RULES: dict[str, Callable[[str, Surroundings], Permission]] = {
    "AWSPARAMSTR": _aws_parameter,
    "AWSSECRETS": _aws_secret,
    "AZKVSECRET": _azure("Microsoft.KeyVault/vaults", "Key Vault Secrets User", _key_vault_secret),
    "AZAPPCONF": _azure(
        "Microsoft.AppConfiguration/configurationStores", "App Configuration Data Reader", lambda _: ""
    ),
    "AZTABLESTORE": _azure("Microsoft.Storage/storageAccounts", "Storage Table Data Reader", _table),
    "VAULT": _vault,
    "GCPSECRETS": _google,
}
