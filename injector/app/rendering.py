"""
One pass: read, scan, plan, resolve, render, publish. `injector render` is one pass; later modes repeat it.

1. Read every template; 2. substitute environment variables where asked; 3. scan. Whatever is wrong by now is reported
together, before any backend is asked. 4. Plan, 5. resolve, 6. render: whatever fails is reported together, for every
token of every file. 7. Publish all files, or none.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from injector.app import scanning, sources
from injector.app.connecting import with_default_connections
from injector.app.outputs import Output, publish_outputs
from injector.app.resolving import values_of
from injector.errors import InjectorError, RunFailed
from injector.plan.planner import make_plan
from injector.render.formats.choice import form_for
from injector.render.renderer import Renderer
from injector.telemetry.traces import NO_TRACES
from injector.template.scanner import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from injector.app.checking import FileCheck
    from injector.backends.contract import Outcome
    from injector.backends.registry import Registry
    from injector.model.policy import Form
    from injector.model.references import Reference
    from injector.model.secret import Secret
    from injector.model.template import Source, Template
    from injector.render.renderer import Rendered
    from injector.settings.schema import FileSettings, Settings
    from injector.telemetry.logs import Log
    from injector.telemetry.traces import Tracer


class RenderRequest(Struct, frozen=True):
    """
    What to render and where to.

    *inputs* are files, directories, or `-` for standard input. With *output_dir* the files go below it, with *output*
    the one file goes there, with neither nothing is written: the caller finds the result in the report. *single* says
    that the caller can take one file only. *stdin* is what standard input holds, when it has been read already. Without
    *publish* the targets are only named, and the report tells how each file was made.
    """

    inputs: tuple[str, ...]
    output: Path | None = None
    output_dir: Path | None = None
    single: bool = False
    stdin: bytes | None = None
    publish: bool = True


class Made(Struct, frozen=True):
    """How a file came about: `values` are those of the template's tokens, in order, as they are."""

    template: Template
    values: tuple[Secret, ...]
    form: Form
    settings: FileSettings


class RenderedFile(Struct, frozen=True):
    """
    One file of a report. `target` is None when it was not written; `changed` says whether bytes were.

    `made` is set when files are rendered without being published.
    """

    template: str
    target: Path | None
    tokens: int
    data: Secret
    changed: bool = False
    made: Made | None = None


class RenderReport(Struct, frozen=True):
    """What a pass did. `forgiven` are missing values that a policy let pass, each with its place."""

    files: tuple[RenderedFile, ...]
    tokens: int
    fetches: int
    forgiven: tuple[InjectorError, ...]


async def render(
    request: RenderRequest,
    settings: Settings,
    registry: Registry,
    *,
    environment: Mapping[str, str],
    log: Log,
    progress: Callable[[int, int], None] | None = None,
    on_values: Callable[[Mapping[Reference, Outcome]], None] | None = None,
    tracer: Tracer = NO_TRACES,
) -> RenderReport:
    """
    One pass over the templates of *request*. *on_values* is given what the stores answered, before files are written.

    Raises RunFailed with everything that is wrong with templates, values or outputs. In that case no output was
    touched, or the error of the output says which ones were.
    """
    stdin = None if request.stdin is None else io.BytesIO(request.stdin)
    read = sources.gather(request.inputs, output_dir=request.output_dir, warn=log.warning, stdin=stdin)
    files = tuple(file for file, _ in read)
    _refuse_several_for_one(request, files)
    templates = scan_all([source for _, source in read], settings, registry, environment=environment)
    plan = make_plan(templates)
    log.info("planned", templates=len(templates), tokens=plan.tokens, fetches=len(plan))
    with tracer.span("pass", templates=len(templates), tokens=plan.tokens, fetches=len(plan)):
        values = await values_of(plan, settings, registry, log=log, progress=progress, tracer=tracer)
        if on_values is not None:
            on_values(values)
        return await _finish(
            request,
            files,
            templates,
            Renderer(values),
            settings,
            fetches=len(plan),
            tracer=tracer,
            environment=environment,
            log=log,
        )


def _refuse_several_for_one(request: RenderRequest, files: Sequence[sources.TemplateFile]) -> None:
    if request.single and len(files) != 1:
        raise sources.several_for_one(len(files))


def scan_all(
    read: Sequence[Source], settings: Settings, registry: Registry, *, environment: Mapping[str, str]
) -> tuple[Template, ...]:
    """Scans *read*, after substitution where asked; raises RunFailed with every error of every one of them."""
    problems: list[InjectorError] = []
    ready: list[tuple[Source, FileSettings]] = []
    for source in read:
        own = settings.for_file(source.name)
        finished, unset = scanning.substituted(source, own, environment)
        problems.extend(unset)
        ready.append((finished, own))
    prefixes = scanning.prefixes_of(ready, registry)
    templates = tuple(scan(source, scanning.grammar_of(own, prefixes)) for source, own in ready)
    for template in templates:
        problems.extend(template.problems)
    if problems:
        raise RunFailed(problems)
    return with_default_connections(templates, settings, registry)


async def _finish(
    request: RenderRequest,
    files: Sequence[sources.TemplateFile],
    templates: Sequence[Template],
    renderer: Renderer,
    settings: Settings,
    *,
    fetches: int,
    tracer: Tracer,
    environment: Mapping[str, str],
    log: Log,
) -> RenderReport:
    """Renders all templates, checks them, and publishes them if every one of them is whole."""
    checks: list[FileCheck] = []
    problems: list[InjectorError] = []
    forgiven: list[InjectorError] = []
    results: list[tuple[RenderedFile, FileSettings]] = []
    for file, template in zip(files, templates, strict=True):
        own = settings.for_file(file.name)
        form = form_for(_called(request, file), own.format, own.escape, read_back=own.check.read_back)
        with tracer.span("render", file=file.name):
            rendered = renderer.render(template, own.missing, form)
        problems.extend(rendered.problems)
        forgiven.extend(rendered.forgiven)
        target = request.output_dir / file.output if request.output_dir is not None else request.output
        tokens = sum(1 for _ in template.tokens())
        made = None if request.publish else Made(template, rendered.values[:tokens], form, own)
        result = RenderedFile(file.name, target, tokens, rendered.data, made=made)
        results.append((result, own))
        if own.check.command:
            checks.append(check_of(file.name, _called(request, file), rendered, own))
    if problems:
        raise RunFailed(problems)
    if checks:
        from injector.app.checking import run_checks  # late: few files have a check command

        problems.extend(await run_checks(checks, environment=environment, redactor=log.redactor))
        if problems:
            raise RunFailed(problems)
    written = None
    if request.publish and results and results[0][0].target is not None:
        with tracer.span("publish", files=len(results)):
            written = _publish(request, files, results)
    return RenderReport(
        files=tuple(result for result, _ in results) if written is None else written,
        tokens=sum(result.tokens for result, _ in results),
        fetches=fetches,
        forgiven=tuple(forgiven),
    )


def check_of(name: str, output_name: str, rendered: Rendered, own: FileSettings) -> FileCheck:
    """The check command of the settings for a rendered file; `own.check.command` is not empty."""
    from injector.app.checking import FileCheck  # late: few files have a check command

    file_name = output_name.rpartition("/")[2]
    return FileCheck(name, file_name, rendered.data, rendered.values, own.check.command, own.check_timeout)


def _called(request: RenderRequest, file: sources.TemplateFile) -> str:
    """The name that says which format a file has: its output's, or its template's when that one has no extension."""
    return str(request.output) if request.output is not None and request.output.suffix else file.output


def _publish(
    request: RenderRequest, files: Sequence[sources.TemplateFile], results: Sequence[tuple[RenderedFile, FileSettings]]
) -> tuple[RenderedFile, ...]:
    outputs = []
    for file, (result, own) in zip(files, results, strict=True):
        target = Path(file.output) if request.output_dir is not None else result.target
        assert target is not None
        outputs.append(Output(target, result.data, own))
    published = publish_outputs(outputs, request.output_dir)
    return tuple(replace(result, changed=done.changed) for (result, _), done in zip(results, published, strict=True))
