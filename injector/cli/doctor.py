"""`injector doctor`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click
from msgspec import to_builtins

from injector.cli import options
from injector.errors import ExitCode, InjectorError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from injector.app.findings import Finding


@click.command(
    epilog="""\b
Examples:
  injector doctor --cluster
  injector doctor --pod shop/web-6d5f9
  kubectl exec web-6d5f9 -c injector -- injector doctor /templates
"""
)
@click.argument("inputs", nargs=-1, metavar="[FILE|DIR]...")
@click.option("--pod", metavar="NAMESPACE/NAME", help="Look at this pod.")
@click.option("--cluster", is_flag=True, help="Look at the webhook, and at all pods that ask for it.")
@options.config_option
@options.output_format
def command(inputs: tuple[str, ...], pod: str | None, *, cluster: bool, output_format: str, **flags: Any) -> int:
    """
    Say what is wrong with a pod or a cluster, and what to do.

    Without --pod and --cluster it looks around in the pod that it is run in: templates, plugins, mounts and rights.
    Nothing is changed and no store is asked. Exit code 0 when there is no problem, 1 when there is one, 5 when the API
    server does not answer.
    """
    if pod is not None and cluster:
        raise UsageError("--pod and --cluster exclude each other")
    if (pod is not None or cluster) and inputs:
        raise UsageError("templates are looked at in their pod, without --pod and --cluster")
    found = _of_cluster(pod) if cluster or pod is not None else _of_here(inputs, flags, output_format)
    problems = sum(one.verdict == "problem" for one in found)
    if output_format == "json":
        document = {"schemaVersion": 1, "problems": problems, "findings": [to_builtins(one) for one in found]}
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        _print(found)
    return int(ExitCode.DIFFERENT if problems else ExitCode.DONE)


def _of_cluster(pod: str | None) -> Sequence[Finding]:
    from injector.app.doctor import look_at_cluster, look_at_pod  # late: start-up
    from injector.kube.access import cluster_api

    if pod is None:
        return look_at_cluster(cluster_api(os.environ))
    namespace, slash, name = pod.partition("/")
    if not slash or not namespace or not name:
        raise UsageError("--pod: expected NAMESPACE/NAME")
    return look_at_pod(cluster_api(os.environ), namespace, name)


def _of_here(inputs: tuple[str, ...], flags: dict[str, Any], output_format: str) -> Sequence[Finding]:
    from injector.app.doctor import look_around  # late: start-up
    from injector.app.findings import Finding, Verdict
    from injector.cli import inspecting

    settings, log = options.load_settings(flags, output_format=output_format)
    named = inputs or tuple(map(str, settings.inputs))
    found = look_around(settings, named, os.environ)
    if not named:
        hint = "name the directory of the templates"
        return [*found, Finding("templates", Verdict.WARNING, "this pod", "no templates were named", hint=hint)]
    try:
        inspection = inspecting.inspected(named, settings, log, output_dir=None, values=None)
    except InjectorError as error:
        return [*found, Finding("templates", Verdict.PROBLEM, "templates", error.message, hint=error.hint)]
    for problem in inspection.problems:
        check = "plugin" if problem.exit_code is ExitCode.PLUGIN else "template"
        place = str(problem.place or "templates")
        found.append(Finding(check, Verdict.PROBLEM, place, problem.message, hint=problem.hint))
    if not inspection.problems:
        found.append(Finding("templates", Verdict.OK, "templates", f"{len(inspection.files)} are well formed"))
        found += [Finding("plugin", Verdict.OK, prefix, one.name) for prefix, one in inspection.backends.items()]
    return found


def _print(found: Sequence[Finding]) -> None:
    for one in found:
        click.echo(f"{one.verdict.value:8} {one.check:10} {one.subject}: {one.message}")
        if one.hint and one.verdict != "ok":
            click.echo(f"{'':19} {one.hint}")
