"""What each token needs to be allowed, in each provider's own words."""

from __future__ import annotations

import pytest

from injector.model.references import Reference
from injector.plan import policies
from injector.plan.permissions import Permission, Provider, Surroundings, permission, permissions

GROUP = "/subscriptions/sub/resourceGroups/rg/providers"
WHERE = Surroundings(
    region="eu-west-1", account="123456789012", project="shop", subscription="sub", resource_group="rg"
)


@pytest.mark.parametrize(
    ("prefix", "path", "provider", "resource"),
    [
        ("AWSPARAMSTR", "/shop/db", "aws", "arn:aws:ssm:eu-west-1:123456789012:parameter/shop/db"),
        ("AWSPARAMSTR", "plain", "aws", "arn:aws:ssm:eu-west-1:123456789012:parameter/plain"),
        ("AWSSECRETS", "/shop/db", "aws", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:/shop/db-??????"),
        ("AWSSECRETS", "arn:aws:x:y", "aws", "arn:aws:x:y"),
        ("VAULT", "/secret___/shop/db", "vault", "secret/data/shop/db"),
        ("VAULT", "kv/team___shop/db", "vault", "kv/team/data/shop/db"),
        ("GCPSECRETS", "/db-password", "gcp", "projects/shop/secrets/db-password"),
        ("GCPSECRETS", "projects/p/secrets/s", "gcp", "projects/p/secrets/s"),
        (
            "AZKVSECRET",
            "/keys/db",
            "azure",
            f"{GROUP}/Microsoft.KeyVault/vaults/keys/secrets/db",
        ),
        (
            "AZTABLESTORE",
            "account/table/p/r",
            "azure",
            f"{GROUP}/Microsoft.Storage/storageAccounts/account/tableServices/default/tables/table",
        ),
        (
            "AZAPPCONF",
            "store/key",
            "azure",
            f"{GROUP}/Microsoft.AppConfiguration/configurationStores/store",
        ),
    ],
)
def test_a_path_names_the_resource(prefix: str, path: str, provider: str, resource: str) -> None:
    found = permission(Reference(prefix, path), WHERE)
    assert found is not None
    assert (found.provider.value, found.resource) == (provider, resource)


def test_nothing_is_said_of_plugins_that_nobody_here_knows() -> None:
    assert permission(Reference("DEMO", "/a")) is None


def test_an_aws_policy_allows_each_resource_once_and_the_key_through_the_services_only() -> None:
    where = Surroundings(region="eu-west-1", account="1", kms_keys=("arn:aws:kms:eu-west-1:1:key/k",))
    references = [
        Reference("AWSPARAMSTR", "/b"),
        Reference("AWSPARAMSTR", "/a"),
        Reference("AWSPARAMSTR", "/a", "version=3"),
        Reference("AWSSECRETS", "s"),
        Reference("VAULT", "m___p"),
    ]
    policy = policies.aws_policy(permissions(references, where), where)
    secrets, parameters, keys = policy["Statement"]  # type: ignore[misc]
    assert parameters["Resource"] == ["arn:aws:ssm:eu-west-1:1:parameter/a", "arn:aws:ssm:eu-west-1:1:parameter/b"]
    assert parameters["Action"] == ["ssm:GetParameter", "ssm:GetParameters"]
    assert secrets["Action"] == ["secretsmanager:GetSecretValue"]
    assert keys["Condition"]["StringLike"]["kms:ViaService"] == [
        "secretsmanager.eu-west-1.amazonaws.com",
        "ssm.eu-west-1.amazonaws.com",
    ]


def test_without_aws_tokens_the_policy_allows_nothing() -> None:
    where = Surroundings(kms_keys=("k",))
    assert policies.aws_policy(permissions([Reference("VAULT", "m___p")], where), where)["Statement"] == []


def test_a_vault_path_cannot_become_an_expression_of_hcl() -> None:
    text = policies.vault_policy([Permission(Provider.VAULT, 'kv/data/a"b${c}\\', ("read",))])
    assert text == 'path "kv/data/a\\"b$${c}\\\\" {\n  capabilities = ["read"]\n}\n'
