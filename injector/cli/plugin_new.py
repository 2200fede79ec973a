"""`injector plugin new`."""

from __future__ import annotations

from pathlib import Path

import click

from injector.cli import options


@click.command()
@click.argument("name")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@options.output_format
def command(name: str, directory: Path | None, output_format: str) -> None:
    """
    Write a new plugin's project, which passes its tests at once.

    NAME is the prefix of its tokens in lower case. The project goes into DIRECTORY, by default one called NAME here; a
    directory with something in it is left alone.
    """
    from injector.sdk.scaffold.new import new_project  # late: for authors only

    directory = directory or Path(name)
    files = new_project(name, directory)
    if output_format == "json":
        import json

        click.echo(json.dumps({"schemaVersion": 1, "directory": str(directory), "files": files}, ensure_ascii=False))
        return
    for file in files:
        click.echo(directory / file)
    click.echo(f"\nnext:\n  cd {directory}\n  make install test\n  make build", err=True)
