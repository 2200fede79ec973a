"""`injector render`."""

from __future__ import annotations

import base64
import json
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from injector.cli import options
from injector.cli.one_pass import one_pass
from injector.errors import ExitCode, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from injector.app.rendering import RenderedFile, RenderReport
    from injector.backends.contract import Outcome
    from injector.errors import InjectorError
    from injector.model.references import Reference


@click.command(
    epilog="""\b
Examples:
  injector render application.yml
  injector render application.yml -o config/application.yml
  injector render templates/ --output-dir config/
  printf 'password=AWSPARAMSTR:///app/db/password\\n' | injector render -
"""
)
@options.inputs_and_outputs
@options.values_options
@options.settings_options
@options.output_format
@options.verbosity
def command(
    inputs: tuple[str, ...],
    output: str | None,
    output_dir: Path | None,
    output_format: str,
    values: Path | None,
    record: Path | None,
    replay: Path | None,
    recording_key: Path | None,
    quiet: bool,  # noqa: FBT001  # click's way of a flag
    verbose: int,
    **flags: Any,
) -> int:
    """
    Resolve the tokens of config templates and write the finished files.

    Reads files, whole directories, or standard input (-). Writes to standard output, to one file (-o), or below a
    directory (--output-dir). Files are written at once or not at all: when anything fails, what was there before is
    untouched. New files are readable by their owner only (--mode).
    """
    started = time.monotonic()
    settings, log = options.load_settings(flags, output_format=output_format, quiet=quiet, verbose=verbose)
    chosen = options.choose(inputs, output, output_dir, settings)

    recorded = options.recorded_values(
        settings, values=values, record=record, replay=replay, recording_key=recording_key
    )

    from injector.app.rendering import RenderRequest  # late: start-up

    single = chosen.output_dir is None and not (chosen.output is None and output_format == "json")
    request = RenderRequest(chosen.inputs, output=chosen.output, output_dir=chosen.output_dir, single=single)
    keep = _recorder(record, recording_key) if record and recording_key else None
    report = one_pass(request, settings, log, recorded=recorded, quiet=quiet, on_values=keep)
    if report is None:
        return 128 + signal.SIGTERM
    show(report, started, to_stdout=chosen.to_stdout, output_format=output_format, quiet=quiet)
    return int(ExitCode.DONE)


def show(report: RenderReport, started: float, *, to_stdout: bool, output_format: str, quiet: bool) -> None:
    """Prints what a pass did that began at *started* (monotonic): the files themselves, a summary, or JSON."""
    if output_format == "json":
        click.echo(json.dumps(_as_json(report, started, with_content=to_stdout), ensure_ascii=False))
        return
    if not quiet:
        print_warnings(report.forgiven)
    if to_stdout:
        _write_stdout(report.files)
    elif not quiet:
        click.echo(_summary(report, started), err=True)


def _recorder(path: Path, key: Path) -> Callable[[Mapping[Reference, Outcome]], None]:
    def write(outcomes: Mapping[Reference, Outcome]) -> None:
        from injector.app.recording import write_recording  # late: start-up

        write_recording(path, key, outcomes)

    return write


def print_warnings(forgiven: Sequence[InjectorError]) -> None:
    """Missing values that a policy let pass, for people."""
    if forgiven:
        from injector.cli import diagnostics  # late: most renders have none
        from injector.cli.terminal import use_color

        click.echo(diagnostics.warnings_as_text(forgiven, color=use_color(sys.stderr)), err=True, color=True)


def _write_stdout(files: Sequence[RenderedFile]) -> None:
    try:
        sys.stdout.flush()
        for file in files:
            left = memoryview(file.data.reveal())
            while left:  # with PYTHONUNBUFFERED this is a raw file, which may take a part only
                left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError.of_stdout(error) from None


def _summary(report: RenderReport, started: float) -> str:
    from injector.cli.terminal import counted  # late: start-up

    written = sum(file.changed for file in report.files)
    unchanged = len(report.files) - written
    parts = [f"rendered {counted(len(report.files), 'file')}", counted(report.tokens, "token")]
    parts.append(counted(report.fetches, "fetch", "fetches"))
    if unchanged:
        parts.append(f"{unchanged} unchanged")
    return f"{', '.join(parts)} in {time.monotonic() - started:.2f} s"


def _as_json(report: RenderReport, started: float, *, with_content: bool) -> dict[str, object]:
    """The report as documented in docs/output-format.md. Content that is no UTF-8 comes as base64."""
    files = []
    for file in report.files:
        entry: dict[str, object] = {"template": file.template, "tokens": file.tokens}
        if with_content:
            entry.update(_content(file.data.reveal()))
        else:
            entry.update(output=str(file.target), changed=file.changed)
        files.append(entry)
    return {
        "schemaVersion": 1,
        "files": files,
        "tokens": report.tokens,
        "fetches": report.fetches,
        "warnings": [_warning(error) for error in report.forgiven],
        "seconds": round(time.monotonic() - started, 3),
    }


def _content(data: bytes) -> dict[str, str]:
    try:
        return {"content": data.decode("utf-8"), "encoding": "utf-8"}
    except UnicodeDecodeError:
        return {"content": base64.b64encode(data).decode("ascii"), "encoding": "base64"}


def _warning(error: InjectorError) -> dict[str, object]:
    from injector.cli import diagnostics  # late: most renders have none

    return diagnostics.fields(error, "warning")
