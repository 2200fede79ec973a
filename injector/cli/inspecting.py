"""What `check`, `explain`, `plan` and `iam-policy` have in common: their options, and the look at the templates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from injector.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.app.inspection import Inspection
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log

F = TypeVar("F", bound="Callable[..., Any]")


template_options = options.options_of(
    click.argument("inputs", nargs=-1, metavar="[FILE|DIR|-]..."),
    click.option(
        "--output-dir",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Where a render would write to: left out when it lies among the templates.",
    ),
    click.option(
        "--values",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Values of FILE stand in for the stores, as in `injector render --values`: no plugin is needed.",
    ),
    options.settings_options,
    options.verbosity,
)
"""The templates and the settings that say what a token is and who answers for it."""


def inspected(
    inputs: tuple[str, ...], settings: Settings, log: Log, *, output_dir: Path | None, values: Path | None
) -> Inspection:
    """The inspection of *inputs*. Starts no plugin and asks no store. Raises what `app.inspection.inspect` raises."""
    from injector.app import build  # late: start-up
    from injector.app.inspection import inspect

    chosen = options.choose(inputs, None, output_dir, settings)
    recorded = options.recorded_values(settings, values=values, record=None, replay=None, recording_key=None)
    return inspect(
        chosen.inputs,
        settings,
        build.registry(settings, os.environ, log, recorded=recorded),
        build.search_path(settings, os.environ),
        build.verification(settings),
        environment=os.environ,
        output_dir=chosen.output_dir,
        recorded=recorded,
        log=log,
    )
