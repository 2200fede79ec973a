"""
One pass: read, scan, plan, resolve, render, publish. `injector render` is one pass; later modes repeat it.

1. Read every template; 2. substitute environment variables where asked; 3. scan. Whatever is wrong by now is reported
together, before any backend is asked. 4. Plan, 5. resolve, 6. render: whatever fails is reported together, for every
token of every file. 7. Publish all files, or none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from injector.app import sources
from injector.app.connecting import with_default_connections
from injector.app.outputs import Output, publish_outputs
from injector.errors import InjectorError, RunFailed, UsageError
from injector.plan.planner import make_plan
from injector.render.renderer import Renderer
from injector.template.envsubst import substitute
from injector.template.grammar import KNOWN_PREFIXES, Grammar, candidate_prefixes
from injector.template.scanner import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from injector.backends.contract import Backend, Outcome
    from injector.backends.registry import Registry
    from injector.model.references import Reference
    from injector.model.secret import Secret
    from injector.model.template import Source, Template
    from injector.plan.planner import Account
    from injector.settings.schema import FileSettings, Settings
    from injector.telemetry.logs import Log


class RenderRequest(Struct, frozen=True):
    """
    What to render and where to.

    *inputs* are files, directories, or `-` for standard input. With *output_dir* the files go below it, with *output*
    the one file goes there, with neither nothing is written: the caller finds the result in the report. *single* says
    that the caller can take one file only.
    """

    inputs: tuple[str, ...]
    output: Path | None = None
    output_dir: Path | None = None
    single: bool = False


class RenderedFile(Struct, frozen=True):
    """One file of a report. `target` is None when it was not written; `changed` says whether bytes were."""

    template: str
    target: Path | None
    tokens: int
    data: Secret
    changed: bool = False


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
) -> RenderReport:
    """
    One pass over the templates of *request*. *on_values* is given what the stores answered, before files are written.

    Raises RunFailed with everything that is wrong with templates, values or outputs. In that case no output was
    touched, or the error of the output says which ones were.
    """
    from injector.resolve.resolver import Limits, resolve  # late: a template without tokens needs no event loop

    read = sources.gather(request.inputs, output_dir=request.output_dir, warn=log.warning)
    files = tuple(file for file, _ in read)
    _refuse_several_for_one(request, files)
    templates = scan_all([source for _, source in read], settings, registry, environment=environment)
    plan = make_plan(templates)
    log.info("planned", templates=len(templates), tokens=plan.tokens, fetches=len(plan))

    async def open_backend(account: Account) -> Backend:
        return await registry.open(account.prefix, account.connection)

    limits = Limits(
        deadline=settings.timeout, call_timeout=settings.plugins.call_timeout, concurrency=settings.concurrency
    )
    values = await resolve(plan, open_backend, limits=limits, log=log, progress=progress)
    if on_values is not None:
        on_values(values)
    return _finish(request, files, templates, Renderer(values), settings, fetches=len(plan))


def _refuse_several_for_one(request: RenderRequest, files: Sequence[sources.TemplateFile]) -> None:
    if request.single and len(files) != 1:
        raise UsageError(
            f"there are {len(files)} templates, and the output is one file",
            hint="give --output-dir DIR to write each to a file of its own",
        )


def scan_all(
    read: Sequence[Source], settings: Settings, registry: Registry, *, environment: Mapping[str, str]
) -> tuple[Template, ...]:
    """Scans *read*, after substitution where asked; raises RunFailed with every error of every one of them."""
    problems: list[InjectorError] = []
    substituted: list[Source] = []
    for source in read:
        if settings.for_file(source.name).envsubst:
            source, unset = substitute(source, environment)
            problems.extend(unset)
        substituted.append(source)
    templates = tuple(scan(source, grammar) for source, grammar in _with_grammars(substituted, settings, registry))
    for template in templates:
        problems.extend(template.problems)
    if problems:
        raise RunFailed(problems)
    return with_default_connections(templates, settings, registry)


def _with_grammars(read: Sequence[Source], settings: Settings, registry: Registry) -> Sequence[tuple[Source, Grammar]]:
    words: set[str] = set()
    for source in read:
        words |= candidate_prefixes(source.data, settings.for_file(source.name).token_separator)
    prefixes = KNOWN_PREFIXES | registry.prefixes(frozenset(words))
    grammars: list[tuple[Source, Grammar]] = []
    for source in read:
        own = settings.for_file(source.name)
        grammars.append((source, Grammar(prefixes, own.token_separator, own.key_separator)))
    return grammars


def _finish(
    request: RenderRequest,
    files: Sequence[sources.TemplateFile],
    templates: Sequence[Template],
    renderer: Renderer,
    settings: Settings,
    *,
    fetches: int,
) -> RenderReport:
    """Renders all templates, and publishes them if every one of them is whole."""
    problems: list[InjectorError] = []
    forgiven: list[InjectorError] = []
    results: list[tuple[RenderedFile, FileSettings]] = []
    for file, template in zip(files, templates, strict=True):
        own = settings.for_file(file.name)
        rendered = renderer.render(template, own.missing)
        problems.extend(rendered.problems)
        forgiven.extend(rendered.forgiven)
        target = request.output_dir / file.output if request.output_dir is not None else request.output
        result = RenderedFile(file.name, target, sum(1 for _ in template.tokens()), rendered.data)
        results.append((result, own))
    if problems:
        raise RunFailed(problems)
    written = _publish(request, files, results) if results and results[0][0].target is not None else None
    return RenderReport(
        files=tuple(result for result, _ in results) if written is None else written,
        tokens=sum(result.tokens for result, _ in results),
        fetches=fetches,
        forgiven=tuple(forgiven),
    )


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
