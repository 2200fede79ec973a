"""`injector plan`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from injector.cli import inspecting, options
from injector.errors import ExitCode, RunFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from injector.app.inspection import Inspection
    from injector.plan.costs import Estimate, Load
    from injector.plan.planner import Account
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log


@click.command(
    epilog="""\b
Examples:
  injector plan templates/
  injector plan templates/ --replicas 100 --refresh 1m
"""
)
@inspecting.template_options
@click.option("--replicas", metavar="N", type=click.IntRange(1, 1_000_000), default=1, help="Pods that do it. [1]")
@click.option("--refresh", metavar="DURATION", help="How often values are asked for again, or off. [5m]")
@click.option("--start-plugins/--no-start-plugins", default=True, help="Ask plugins how many references a call takes.")
@options.output_format
def command(
    inputs: tuple[str, ...],
    output_dir: Path | None,
    values: Path | None,
    output_format: str,
    replicas: int,
    start_plugins: bool,  # noqa: FBT001  # click's way of a flag
    quiet: bool,  # noqa: FBT001
    verbose: int,
    **flags: Any,
) -> int:
    """
    Tell how many calls a render makes, what they cost, and when stores refuse them.

    Equal references are fetched once, and plugins that take several at once get them in batches. Plugins are started
    to ask for the size of a batch, and no store is asked. Quotas and prices are the published ones: an estimate.
    """
    settings, log = options.load_settings(flags, output_format=output_format, quiet=quiet, verbose=verbose)
    inspection = inspecting.inspected(inputs, settings, log, output_dir=output_dir, values=values)
    if inspection.unread:
        raise RunFailed(list(inspection.unread))
    estimates = _estimates(inspection, settings, log, replicas=replicas, start_plugins=start_plugins)
    tokens = sum(1 for _ in inspection.tokens)
    if output_format == "json":
        click.echo(json.dumps(_as_json(estimates, tokens, settings, replicas), ensure_ascii=False))
    else:
        _print(estimates, tokens, settings, replicas)
    return int(ExitCode.DONE)


def _estimates(
    inspection: Inspection, settings: Settings, log: Log, *, replicas: int, start_plugins: bool
) -> list[tuple[Account, Estimate]]:
    from injector.plan.costs import Load, estimate  # late: start-up
    from injector.plan.planner import make_plan

    plan = make_plan(file.template for file in inspection.files)
    batches = _batches(inspection, settings, log, list(plan.fetches)) if start_plugins else {}
    loads: list[tuple[Account, Load]] = [
        (account, Load(account.prefix, len(references), batches.get(account, 1)))
        for account, references in plan.fetches.items()
    ]
    return [(account, estimate(load, refresh=settings.refresh, replicas=replicas)) for account, load in loads]


def _batches(inspection: Inspection, settings: Settings, log: Log, accounts: Sequence[Account]) -> dict[Account, int]:
    """References in one call, by account; without those whose plugin does not start, which are told as warnings."""
    import asyncio  # late: start-up
    import os

    from injector.app.calling import largest_batches

    startable = [account for account in accounts if inspection.backends[account.prefix].error is None]
    return asyncio.run(largest_batches(startable, settings, environment=os.environ, log=log))


def _print(estimates: Sequence[tuple[Account, Estimate]], tokens: int, settings: Settings, replicas: int) -> None:
    from injector.cli.terminal import counted  # late: start-up

    references = sum(estimate.load.references for _, estimate in estimates)
    calls = sum(estimate.load.calls for _, estimate in estimates)
    amounts = [counted(tokens, "token"), counted(references, "reference"), counted(calls, "call")]
    click.echo(f"{', '.join(amounts)} for one render")
    every = f"every {settings.refresh:g} s" if settings.refresh else "never again"
    click.echo(f"{counted(replicas, 'replica')}, values asked for {every}\n")
    head = ("backend", "references", "a call", "calls", "calls/h", "calls/month", "USD/month", "of quota", "risk")
    rows = [head, *(_row(account, each) for account, each in estimates)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        cells = (
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())
    for account, each in estimates:
        for line in _remarks(account, each, replicas):
            click.echo(f"\n{line}")


def _row(account: Account, each: Estimate) -> tuple[str, ...]:
    name = account.prefix + (f" ({account.connection})" if account.connection else "")
    return (
        name,
        str(each.load.references),
        str(each.load.batch),
        str(each.load.calls),
        f"{each.per_hour:,.0f}",
        f"{each.per_month:,.0f}",
        "?" if each.price is None else f"{each.price:,.2f}",
        "-" if each.share is None else f"{each.share:.1%}",
        each.risk,
    )


def _remarks(account: Account, each: Estimate, replicas: int) -> list[str]:
    service = each.service
    if service is None:
        return []
    lines = []
    if each.start_seconds is not None and service.calls_per_second is not None:
        quota = f"{service.name} takes {service.calls_per_second:g} calls/s for each {service.shared_by}"
        starts = f"{replicas} that start at once need {each.start_seconds:.1f} s of all of it"
        lines.append(f"{account.prefix}: {quota}; {starts}")
    if service.note:
        lines.append(f"{account.prefix}: price: {service.note}")
    return lines


def _as_json(
    estimates: Sequence[tuple[Account, Estimate]], tokens: int, settings: Settings, replicas: int
) -> dict[str, object]:
    """As documented in docs/output-format.md."""
    backends = [
        {
            "prefix": account.prefix,
            "connection": account.connection,
            "service": each.service.name if each.service else None,
            "references": each.load.references,
            "batch": each.load.batch,
            "calls": each.load.calls,
            "callsPerHour": each.per_hour,
            "callsPerMonth": each.per_month,
            "usdPerMonth": each.price,
            "quotaPerSecond": each.service.calls_per_second if each.service else None,
            "quotaShare": each.share,
            "startSeconds": each.start_seconds,
            "risk": each.risk,
        }
        for account, each in estimates
    ]
    return {
        "schemaVersion": 1,
        "tokens": tokens,
        "calls": sum(each.load.calls for _, each in estimates),
        "replicas": replicas,
        "refreshSeconds": settings.refresh,
        "backends": backends,
    }
