"""`injector plugin install`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from injector.cli import options

if TYPE_CHECKING:
    from injector.app.plugin_install import Installed
    from injector.settings.schema import Settings

_KIB = 1024


@click.command(
    epilog="""\b
Examples:
  injector plugin install https://example.com/v1.2.0/awsparamstr-linux-amd64 --sha256 0c9d…
  injector plugin install ./build/demo --name demo --sha256 $(sha256sum build/demo | cut -d' ' -f1)
  injector plugin install https://example.com/v1.2.0/awsparamstr-linux-amd64    (its checksum is in the lock file)
"""
)
@click.argument("source", type=click.Path())
@click.option("--sha256", metavar="HEX", help="The checksum that the publisher tells. [that of the lock file]")
@click.option("--name", metavar="PREFIX", help="The plugin's prefix. [told from the file's name]")
@click.option(
    "--platform", metavar="OS-ARCH", help="linux-amd64, darwin-arm64, wasm, … [from the file's name, or this]"
)
@click.option(
    "--config", metavar="FILE", type=click.Path(path_type=Path), help="Settings file (YAML). [INJECTOR_CONFIG]"
)
@click.option(
    "--plugin-path",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Install below DIR, which is made if missing. [the first place that is searched]",
)
@click.option(
    "--plugin-lock-file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="The lock file, which gains the plugin. [injector.plugins.lock beside the settings file, or here]",
)
@click.option("--max-size", metavar="SIZE", default="512Mi", show_default=True, help="Take no larger file.")
@options.output_format
@options.verbosity
def command(
    source: str,
    sha256: str | None,
    name: str | None,
    platform: str | None,
    plugin_path: Path | None,
    max_size: str,
    output_format: str,
    quiet: bool,  # noqa: FBT001  # click's way of a flag
    verbose: int,
    **flags: Any,
) -> int:
    """
    Install one plugin file from a path or an https:// URL.

    The file's checksum has to be known beforehand, from --sha256 or from the lock file, and nothing is installed when
    it differs. A download that breaks off is continued by the same command. Archives are not unpacked. A proxy is
    taken from HTTPS_PROXY, a private certificate authority from SSL_CERT_FILE.
    """
    settings, _ = options.load_settings(flags, output_format=output_format, quiet=quiet, verbose=verbose)

    from injector.app.build import verification  # late: start-up
    from injector.app.plugin_install import InstallRequest, install
    from injector.backends.executables import this_platform
    from injector.cli.terminal import Progress

    policy = verification(settings)
    request = InstallRequest(
        source=source,
        directory=plugin_path or _first_place(settings),
        here=this_platform(),
        name=name,
        platform=platform,
        sha256=sha256,
        limit=_size(max_size),
    )
    lock = policy.read() if policy.lock_file is not None else None
    with Progress("downloading (KiB)", sys.stderr) as bar:
        installed = install(
            request,
            environment=os.environ,
            lock=lock,
            lock_file=policy.lock_file,
            progress=None if quiet else lambda done, total: bar(done // _KIB, max(1, total // _KIB)),
        )
    if output_format == "json":
        click.echo(json.dumps(_as_json(installed, policy.lock_file), ensure_ascii=False))
    elif not quiet:
        _print(installed, policy.lock_file)
    return 0


def _size(text: str) -> int:
    from injector.settings.kinds import SIZE  # late: start-up

    try:
        return int(SIZE.parse(text))
    except ValueError:
        raise click.BadParameter(f"expected {SIZE.expects}", param_hint="--max-size") from None


def _first_place(settings: Settings) -> Path:
    """Where discovery looks first; the place need not exist yet."""
    if settings.plugin_path:
        return settings.plugin_path[0]
    from injector.app.build import search_path  # late: start-up

    return search_path(settings, os.environ).places[0].directory


def _print(installed: Installed, lock_file: Path | None) -> None:
    what = "installed" if installed.changed else "already there:"
    click.echo(f"{what} {installed.path} ({installed.size} bytes, sha256 {installed.sha256})", err=True)
    for change in installed.lock:
        click.echo(f"{lock_file}: {change.what} {change.name} {change.platform}", err=True)
    if lock_file is None:
        click.echo("no lock file here: `injector plugin lock` pins what is installed", err=True)


def _as_json(installed: Installed, lock_file: Path | None) -> dict[str, object]:
    """As documented in docs/output-format.md."""
    from injector.cli.plugin_lock import change_as_json  # late: another command's module

    facts: dict[str, object] = {
        "schemaVersion": 1,
        "name": installed.name,
        "platform": installed.platform,
        "location": str(installed.path),
        "sha256": installed.sha256,
        "size": installed.size,
        "changed": installed.changed,
        "lockChanges": [change_as_json(change) for change in installed.lock],
    }
    return facts if lock_file is None else {**facts, "lockFile": str(lock_file)}
