"""`injector ui`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from injector.cli import connection_options, options
from injector.errors import ExitCode, UsageError
from injector.process.termination import only_noted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from injector.web.serving import Serving

_HOSTS = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "[::1]": "::1"}
_SHORTEST, _LONGEST = 0.5, 3600.0  # seconds between two looks
_BACKGROUND_PAUSE = 1.0


@click.command(
    epilog="""\b
Examples:
  injector ui --control /run/injector/control
  injector ui --listen 127.0.0.1:8123 --no-browser
"""
)
@options.control_option
@connection_options.store_options
@connection_options.directory_option
@click.option(
    "--plugin-path", multiple=True, metavar="DIR", help="Search DIR, and nothing else but the installed plugins."
)
@click.option(
    "--listen",
    "address",
    metavar="HOST:PORT",
    default="127.0.0.1:0",
    show_default=True,
    help="127.0.0.1, [::1] or localhost, and a port; 0 is a free one.",
)
@click.option("--browser/--no-browser", default=True, help="Open a browser, when there is a terminal. [browser]")
@click.option("--interval", metavar="DURATION", default="5s", show_default=True, help="Look at the sidecar this often.")
@options.output_format
@options.verbosity
def command(
    address: str,
    browser: bool,  # noqa: FBT001  # click's way of a flag
    interval: str,
    output_format: str,
    quiet: bool,  # noqa: FBT001  # click's way of a flag
    verbose: int,
    **flags: Any,
) -> int:
    """
    Show a sidecar and the connections in a browser, on this machine only.

    Prints an address that works once, within five minutes; Enter prints another. No value and no secret is shown.
    SIGTERM and Ctrl-C end it with exit code 0.
    """
    import asyncio  # late: `injector --help` needs no event loop

    host, port = _loopback(address)
    seconds = options.duration_of(interval, "--interval")
    if not _SHORTEST <= seconds <= _LONGEST:
        raise UsageError("--interval: expected 500ms to 1h")
    settings, log = options.load_settings(flags, output_format=output_format, quiet=quiet, verbose=verbose)
    try:
        from injector.web.serving import Serving  # late: the extra `webhook`
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "h11"):
            raise
        raise UsageError(
            "injector ui needs the Python packages starlette and uvicorn",
            hint="install kube-config-injector[webhook]",
        ) from None
    from injector.app.local_page import SidecarAtSocket, UserConnections  # late: start-up

    sidecar = SidecarAtSocket(settings.control) if settings.control is not None else None
    connections = UserConnections(settings, os.environ, log)

    def ready(serving: Serving) -> contextlib.AbstractContextManager[None]:
        return _told(serving, as_json=output_format == "json", browser=browser, quiet=quiet)

    with only_noted():
        serving = Serving(sidecar, connections, log, host=host, port=port, interval=seconds)
        asyncio.run(serving.run(ready))
    return int(ExitCode.DONE)


def _loopback(address: str) -> tuple[str, int]:
    """Host and port of `--listen`. Raises UsageError for an address that others could reach."""
    from injector.settings import kinds  # late: start-up

    try:
        host, _, port = kinds.ADDRESS.parse(address).rpartition(":")
    except ValueError:
        raise UsageError("--listen: expected an address such as 127.0.0.1:8123 or [::1]:0") from None
    if host.lower() not in _HOSTS:
        raise UsageError(
            f"--listen: {host or 'every address'} is not the loopback interface, and the page is for this machine only",
            hint="take 127.0.0.1, [::1] or localhost; from elsewhere come by ssh -L or kubectl port-forward",
        )
    return _HOSTS[host.lower()], int(port)


@contextlib.contextmanager
def _told(serving: Serving, *, as_json: bool, browser: bool, quiet: bool) -> Iterator[None]:
    """Tells where the page is, and again on Enter."""

    def tell() -> str:
        address = serving.new_address()
        click.echo(json.dumps({"schemaVersion": 1, "url": address}) if as_json else address)
        return address

    def failed() -> None:
        click.echo("no browser could be opened: open the address yourself", err=True)

    with contextlib.ExitStack() as stack:
        address = tell()
        if browser and not as_json and sys.stdout.isatty():
            from injector.cli.browser import has_browser, opened  # late: only with a terminal

            if has_browser():
                stack.enter_context(opened(address, failed))
        if sys.stdin is not None and sys.stdin.isatty():
            if not quiet:
                click.echo("Enter: another address, Ctrl-C: the end", err=True)
            stack.enter_context(_on_enter(tell))
        yield


@contextlib.contextmanager
def _on_enter(tell: Callable[[], object]) -> Iterator[None]:
    """Calls *tell* in the running event loop for each line that is typed."""
    import asyncio

    loop, terminal = asyncio.get_running_loop(), sys.stdin.fileno()
    timer: asyncio.TimerHandle | None = None

    def typed() -> None:
        nonlocal timer
        if not _is_foreground(terminal):  # what is typed is another's, and reading it would stop us (SIGTTIN)
            loop.remove_reader(terminal)
            timer = loop.call_later(_BACKGROUND_PAUSE, loop.add_reader, terminal, typed)
            return
        try:
            data = os.read(terminal, 4096)
        except OSError:
            data = b""
        if data:
            tell()
        else:
            loop.remove_reader(terminal)  # its end: there is nobody to tell any more

    loop.add_reader(terminal, typed)
    try:
        yield
    finally:
        loop.remove_reader(terminal)
        if timer is not None:
            timer.cancel()


def _is_foreground(terminal: int) -> bool:
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # not the terminal of this session: reading from it stops nobody
        return True
