"""Files from their snapshots of values to the sink. Blocks: for the publisher's thread."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Mapping, Sequence  # noqa: TC003 - msgspec reads the fields' types
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.app.reconcile.request import BatchSink, Result, Sink
from injector.app.reconcile.templates import Seen  # noqa: TC001
from injector.app.sources import output_name
from injector.backends.contract import Outcome  # noqa: TC001
from injector.errors import InjectorError
from injector.model.references import Reference  # noqa: TC001
from injector.render.formats.choice import form_for
from injector.render.renderer import Rendered, Renderer
from injector.telemetry.traces import NO_TRACES

if TYPE_CHECKING:
    from injector.model.template import Template
    from injector.telemetry.traces import Tracer


class Job(Struct, frozen=True):
    """
    A file that is to be rendered.

    `newest` has what the stores say now, a missing value as an error; `last_good` has the value that there was.
    """

    seen: Seen
    target: Path
    root: Path | None
    newest: Mapping[Reference, Outcome]
    last_good: Mapping[Reference, Outcome]


class Done(Struct, frozen=True):
    """
    What became of a job. `digest` is that of the content in hex, None when there is none; `problems` are the errors of
    tokens, each with its place, also when the last good values were taken in their stead; `failure` is the sink's.
    """

    name: str
    digest: str | None = None
    changed: bool = False
    size: int = 0
    seconds: float = 0.0
    problems: tuple[InjectorError, ...] = ()
    failure: InjectorError | None = None


class Rendering(Struct, frozen=True):
    """A job so far: `result` is for the sink, None when tokens have errors; `done` is what has become of the job."""

    result: Result | None
    done: Done
    required: bool


def render(jobs: Sequence[Job], tracer: Tracer = NO_TRACES) -> list[Rendering]:
    """Renders files, each for itself. Raises nothing that is the user's: it is in the answers."""
    return [_render(job, tracer) for job in jobs]


def publish(rendered: Sequence[Rendering], sink: Sink, tracer: Tracer = NO_TRACES) -> list[Done]:
    """Publishes files, each for itself: one that fails costs no other anything."""
    results = results_of(rendered)
    if len(rendered) > 1 and isinstance(sink, BatchSink):
        began = time.monotonic()
        with contextlib.suppress(InjectorError):  # whose fault it is is found out one by one
            with tracer.span("publish", files=len(results)):
                changed = iter(sink.publish_many(results))
            seconds = (time.monotonic() - began) / len(rendered)
            return [
                one.done if one.result is None else _finished(one.done, changed=next(changed), seconds=seconds)
                for one in rendered
            ]
    return [_publish(one, sink, tracer) for one in rendered]


def publish_set(rendered: Sequence[Rendering], sink: Sink, tracer: Tracer = NO_TRACES) -> list[Done]:
    """Publishes all or none: none when one that is required could not be rendered."""
    results = results_of(rendered)
    if is_held(rendered) or not results:
        return [Done(one.done.name, problems=one.done.problems) for one in rendered]
    began = time.monotonic()
    try:
        with tracer.span("publish", files=len(results)):
            changed = sink.publish_set(results)
    except InjectorError as error:
        return refused(rendered, error)
    seconds = (time.monotonic() - began) / len(rendered)
    return [
        one.done if one.result is None else _finished(one.done, changed=changed, seconds=seconds) for one in rendered
    ]


def results_of(rendered: Sequence[Rendering]) -> list[Result]:
    """Those that there are."""
    return [one.result for one in rendered if one.result is not None]


def is_held(rendered: Sequence[Rendering]) -> bool:
    """Whether a set of these may not be published: one that is required could not be rendered."""
    return any(one.result is None and one.required for one in rendered)


def refused(rendered: Sequence[Rendering], error: InjectorError) -> list[Done]:
    """None of them could be published, because of *error*."""
    return [
        Done(one.done.name, seconds=one.done.seconds, problems=one.done.problems, failure=error) for one in rendered
    ]


def _publish(one: Rendering, sink: Sink, tracer: Tracer) -> Done:
    if one.result is None:
        return one.done
    began = time.monotonic()
    try:
        with tracer.span("publish", files=1):
            changed = sink.publish(one.result)
    except InjectorError as error:
        return refused([one], error)[0]
    return _finished(one.done, changed=changed, seconds=time.monotonic() - began)


def _render(job: Job, tracer: Tracer) -> Rendering:
    template, required = job.seen.template, job.seen.own.required
    assert template is not None
    began = time.monotonic()
    with tracer.span("render", file=job.seen.name) as span:
        rendered, problems = _rendered(job, template)
        if rendered.problems:
            span.fail(rendered.problems[0].code)
    if rendered.problems:
        return Rendering(None, Done(job.seen.name, problems=rendered.problems), required)
    data = rendered.data.reveal()
    digest, seconds = hashlib.sha256(data).hexdigest(), time.monotonic() - began
    done = Done(job.seen.name, digest, size=len(data), seconds=seconds, problems=problems)
    return Rendering(
        Result(job.seen.name, job.target, job.root, rendered.data, job.seen.own, rendered.values), done, required
    )


def _rendered(job: Job, template: Template) -> tuple[Rendered, tuple[InjectorError, ...]]:
    own = job.seen.own
    # An output without an extension has the format of its template, as in a single render.
    name = str(job.target) if job.target.suffix else output_name(PurePath(job.seen.name).name)
    form = form_for(name, own.format, own.escape, read_back=own.check.read_back)
    rendered = Renderer(job.newest).render(template, own.missing, form)
    if not rendered.problems or job.newest == job.last_good:
        return rendered, rendered.problems
    return Renderer(job.last_good).render(template, own.missing, form), rendered.problems


def _finished(done: Done, *, changed: bool, seconds: float) -> Done:
    return Done(done.name, done.digest, changed, done.size, done.seconds + seconds, done.problems)
