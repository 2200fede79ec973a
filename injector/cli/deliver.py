"""`injector deliver`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from injector.errors import OutputError, UsageError


@click.command(
    epilog="""\b
Examples:
  injector deliver /injector/exec
"""
)
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def command(directory: Path) -> NoReturn:
    """
    Write a program that sets variables from rendered files, for containers of any image.

    The admission webhook starts it in front of a container's own command, in clusters that set no variables from
    files (before Kubernetes 1.35): DIR is a volume that both mount. Exit code 0: it is there, 9: DIR cannot be written.
    """
    if not Path("/proc/self/maps").exists():
        raise UsageError("this needs Linux", hint="run it in the image of injector")
    script = Path(__file__).parent.parent / "app" / "delivering.py"
    # A bare interpreter in our place: what it has loaded is what the program needs.
    try:
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-X", "utf8", str(script), str(directory)])  # noqa: S606
    except OSError as error:
        raise OutputError(f"{sys.executable} cannot be run: {os.strerror(error.errno or 0).lower()}") from None
