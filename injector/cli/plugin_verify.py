"""`injector plugin verify`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from injector.cli import options
from injector.errors import ExitCode, InjectorError, PluginNotLocked, PluginRefused, RunFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from injector.app.plugin_lock import Finding


@click.command()
@options.plugin_options
@options.output_format
def command(output_format: str, **flags: Any) -> int:
    """
    Compare the plugin files with the lock file.

    Files of every platform are compared. Exit code 7 when one differs, cannot be read, or is not in the lock file.
    No plugin is started.
    """
    settings, _ = options.load_settings(flags, output_format=output_format)

    from injector.app.build import search_path, verification  # late: start-up
    from injector.app.plugin_lock import verify_files

    policy = verification(settings)
    lock = policy.read()
    assert policy.lock_file is not None
    findings = verify_files(search_path(settings, os.environ), lock)
    if output_format == "json":
        click.echo(json.dumps(_as_json(policy.lock_file, findings), ensure_ascii=False))
    else:
        for finding in findings:
            plugin = f"{finding.name} {finding.platform}"
            click.echo(f"{plugin:32} {finding.state.value:16} {finding.path or ''}".rstrip())
    problems = [problem for finding in findings if (problem := _problem(finding, policy.lock_file)) is not None]
    if problems:
        raise problems[0] if len(problems) == 1 else RunFailed(problems)
    if output_format == "text":
        click.echo(f"all plugin files are as in {policy.lock_file}", err=True)
    return int(ExitCode.DONE)


def _problem(finding: Finding, lock_file: Path) -> InjectorError | None:
    from injector.backends.program_file import mismatch, refused  # late: start-up
    from injector.backends.verification import LockState

    if finding.path is None or finding.state is LockState.LOCKED:
        return None
    if finding.state is LockState.DIFFERENT and finding.expected and finding.found:
        return mismatch(finding.name, finding.path, expected=finding.expected, found=finding.found)
    if finding.state is LockState.NOT_LOCKED:
        return PluginNotLocked(
            f"plugin {finding.name} ({finding.path}) is not in {lock_file}",
            hint="if it is meant to be used, `injector plugin lock` takes it in; otherwise remove the file",
        )
    unreadable: PluginRefused = refused(
        finding.name, finding.path, "cannot be read", "make the file readable for this user"
    )
    return unreadable


def _as_json(lock_file: Path, findings: Sequence[Finding]) -> dict[str, object]:
    """As documented in docs/output-format.md."""
    plugins = []
    for finding in findings:
        facts = {
            "name": finding.name,
            "platform": finding.platform,
            "state": finding.state.value,
            "location": str(finding.path) if finding.path else None,
            "expected": finding.expected,
            "found": finding.found,
        }
        plugins.append({key: value for key, value in facts.items() if value is not None})
    return {"schemaVersion": 1, "lockFile": str(lock_file), "plugins": plugins}
