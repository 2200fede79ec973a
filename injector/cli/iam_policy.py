"""`injector iam-policy`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from injector.cli import inspecting, options
from injector.errors import ExitCode, RunFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from injector.plan.permissions import Permission, Surroundings

PROVIDERS = ("aws", "vault", "gcp", "azure")


@click.command(
    epilog="""\b
Examples:
  injector iam-policy templates/ --provider aws --region eu-west-1 --account 123456789012 > policy.json
  injector iam-policy templates/ --provider vault | vault policy write shop -
"""
)
@inspecting.template_options
@click.option("--provider", type=click.Choice(PROVIDERS), help="Whose rules. [the only one that the templates use]")
@click.option("--region", metavar="NAME", default="*", help="AWS: the region of the resources. [*]")
@click.option("--account", metavar="ID", default="*", help="AWS: the account of the resources. [*]")
@click.option("--partition", metavar="NAME", default="aws", help="AWS: aws, aws-cn or aws-us-gov. [aws]")
@click.option("--kms-key", metavar="ARN", multiple=True, help="AWS: a key that encrypts the values. Repeatable.")
@click.option("--project", metavar="ID", default="*", help="Google: the project of secrets that name none. [*]")
@click.option("--member", metavar="WHO", default="<MEMBER>", help="Google: who is to read them, serviceAccount:…")
@click.option("--subscription", metavar="ID", default="<SUBSCRIPTION>", help="Azure: the subscription.")
@click.option("--resource-group", metavar="NAME", default="<RESOURCE-GROUP>", help="Azure: the resource group.")
@click.option("--principal", metavar="ID", default="<PRINCIPAL>", help="Azure: who is to read them, an object ID.")
@options.output_format
def command(
    inputs: tuple[str, ...],
    output_dir: Path | None,
    values: Path | None,
    output_format: str,
    provider: str | None,
    quiet: bool,  # noqa: FBT001  # click's way of a flag
    verbose: int,
    **flags: Any,
) -> int:
    """
    Print the least access policy for a set of templates.

    For AWS an IAM policy, for Vault a policy in HCL, for Google and Azure the role bindings of each secret. Prefixes of
    other plugins are named on standard error: nobody here knows what they need.
    """
    from injector.plan.permissions import Surroundings, permissions  # late: start-up

    where = Surroundings(
        region=flags.pop("region"),
        account=flags.pop("account"),
        partition=flags.pop("partition"),
        kms_keys=tuple(flags.pop("kms_key")),
        project=flags.pop("project"),
        subscription=flags.pop("subscription"),
        resource_group=flags.pop("resource_group"),
    )
    member, principal = flags.pop("member"), flags.pop("principal")
    settings, log = options.load_settings(flags, output_format=output_format, quiet=quiet, verbose=verbose)
    inspection = inspecting.inspected(inputs, settings, log, output_dir=output_dir, values=values)
    if inspection.unread:
        raise RunFailed(list(inspection.unread))
    references = {token.reference for _, token in inspection.tokens}
    needed = permissions(references, where)
    known = {each.prefix for each in references if permissions([each], where)}
    others = sorted({each.prefix for each in references} - known - {"ENV", "FILE"})
    if others and not quiet:
        click.echo(f"not known what these need: {', '.join(others)}", err=True)
    chosen = provider or _only(needed)
    click.echo(_document(chosen, needed, where, member=member, principal=principal, as_json=output_format == "json"))
    return int(ExitCode.DONE)


def _only(needed: Sequence[Permission]) -> str:
    used = sorted({each.provider.value for each in needed})
    if len(used) == 1:
        return used[0]
    if not used:
        raise UsageError("no token of these templates needs a policy", hint="ENV:// and FILE:// read what is there")
    raise UsageError(f"the templates use {', '.join(used)}", hint="ask for one of them with --provider")


def _document(
    provider: str, needed: Sequence[Permission], where: Surroundings, *, member: str, principal: str, as_json: bool
) -> str:
    from injector.plan import policies  # late: start-up

    match provider:
        case "vault":
            text = policies.vault_policy(needed)
            return json.dumps({"schemaVersion": 1, "policy": text}, ensure_ascii=False) if as_json else text.rstrip()
        case "aws":
            document: object = policies.aws_policy(needed, where)
        case "gcp":
            document = policies.google_bindings(needed, member)
        case _:
            document = policies.azure_assignments(needed, principal)
    if as_json:
        return json.dumps({"schemaVersion": 1, "policy": document}, ensure_ascii=False)
    return json.dumps(document, indent=2, ensure_ascii=False)
