"""`injector plugin precompile`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from injector.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from injector.app.precompiling import Precompiled
    from injector.backends.discovery import Candidate

_MIB = 1024 * 1024


@click.command(
    epilog="""\b
Examples:
  injector plugin precompile
  INJECTOR_PLUGIN_WASM_CACHE=/var/cache/injector injector plugin precompile demo
"""
)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--wasm-cache", "plugin_wasm_cache", metavar="DIR", help="Where compiled ones are kept. [the user's cache]"
)
@options.plugin_options
@options.output_format
@options.verbosity
def command(
    names: tuple[str, ...],
    output_format: str,
    quiet: bool,  # noqa: FBT001  # click's way of a flag
    verbose: int,
    **flags: Any,
) -> int:
    """
    Compile WASM plugins ahead of time: those named, or all that are found.

    For each MiB of a module, compiling takes about a second of CPU and 20 MiB of memory; loading the result takes
    neither. The result belongs to this version of wasmtime and this processor: compile where the plugins will run, in
    the image's build or in an init container of the same image. No plugin is run.
    """
    settings, log = options.load_settings(flags, output_format=output_format, quiet=quiet, verbose=verbose)

    from injector.app.precompiling import candidates, precompile  # late: start-up

    found = candidates(settings, names, os.environ)

    def begin(candidate: Candidate, size: int) -> None:
        if output_format == "text" and not quiet:
            click.echo(f"{candidate.name}: {size / _MIB:.1f} MiB …", err=True)

    results = precompile(found, settings, environment=os.environ, log=log, begin=begin)
    if output_format == "json":
        click.echo(_as_json(results))
    else:
        for result in results:
            what = f"compiled in {result.seconds:.1f} s" if result.compiled else "was compiled before"
            click.echo(f"{result.name:14} {what:20} {result.file}")
        if not results:
            click.echo("no WASM plugin is found, see `injector plugin list`", err=True)
    return 0


def _as_json(results: Sequence[Precompiled]) -> str:
    """As documented in docs/output-format.md."""
    import json

    plugins = [
        {
            "name": result.name,
            "location": result.location,
            "file": str(result.file),
            "compiled": result.compiled,
            "seconds": result.seconds,
        }
        for result in results
    ]
    return json.dumps({"schemaVersion": 1, "plugins": plugins}, ensure_ascii=False)
