"""`injector version`."""

from __future__ import annotations

import json
import platform

import click

import injector
from injector.cli import options

# Offered to plugins at the handshake; newest last.
PLUGIN_PROTOCOLS = (1, 2)


@click.command()
@options.output_format
def command(output_format: str) -> None:
    """Print the version and what it was built with."""
    facts = {
        "version": injector.__version__,
        "pluginProtocols": list(PLUGIN_PROTOCOLS),
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }
    if output_format == "json":
        click.echo(json.dumps({"schemaVersion": 1, **facts}))
    else:
        click.echo(f"injector {facts['version']}")
        click.echo(
            f"plugin protocols {', '.join(map(str, PLUGIN_PROTOCOLS))}, Python {facts['python']}, {facts['platform']}"
        )
