"""`injector plugin build`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from injector.cli import options
from injector.errors import UsageError

if TYPE_CHECKING:
    from injector.sdk.building.build import BuiltPlugin


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="The file. [PREFIX-OS-ARCH, here]"
)
@click.option("--name", metavar="PREFIX", help="Prefix of the tokens, in lower case. [as SOURCE says]")
@click.option(
    "--python",
    metavar="COMMAND",
    default="/usr/bin/env python3",
    show_default=True,
    help="What runs the file. It must have grpcio and protobuf.",
)
@click.option("--no-deps", is_flag=True, help="Leave the project's dependencies to that Python.")
@click.option(
    "--requirement",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Put inside what this requirements file names, by pip; pure Python only.",
)
@options.output_format
def command(
    source: Path,
    output: Path | None,
    name: str | None,
    python: str,
    no_deps: bool,  # noqa: FBT001  # click's way of a flag
    requirement: Path | None,
    output_format: str,
) -> None:
    """
    Make one executable file of a plugin in Python.

    SOURCE is a project (pyproject.toml with an entry point in the group injector.plugins), a package with __main__.py,
    or a file *.py. The file holds the plugin and the SDK, and runs under injector and configmanager. The same input
    gives the same bytes.
    """
    if no_deps and requirement is not None:
        raise UsageError("--no-deps and --requirement exclude each other")

    from injector.sdk.building.build import build  # late: for authors only

    built = build(
        source, output=output, prefix=name, python=python, requirement=requirement, with_dependencies=not no_deps
    )
    if output_format == "json":
        click.echo(json.dumps(_as_json(built), ensure_ascii=False))
        return
    click.echo(built.path)
    click.echo(_advice(built), err=True)


def _advice(built: BuiltPlugin) -> str:
    from injector.backends.executables import this_platform

    name = f"{built.prefix}-{this_platform().file_suffix}"
    place = f".configmanager/plugins/{built.prefix}"
    return (
        f"\n{built.size / 1024:.0f} KiB, starts fastest on Python {built.bytecode}, sha256 {built.sha256}\n"
        f"{built.python} must have: {', '.join(built.needs)}\n"
        f"install it where injector or configmanager runs:\n"
        f"  mkdir -p {place} && cp {built.path} {place}/{name}"
    )


def _as_json(built: BuiltPlugin) -> dict[str, object]:
    """As documented in docs/output-format.md."""
    return {
        "schemaVersion": 1,
        "file": str(built.path),
        "prefix": built.prefix,
        "bytes": built.size,
        "sha256": built.sha256,
        "bytecode": built.bytecode,
        "python": built.python,
        "needs": list(built.needs),
    }
