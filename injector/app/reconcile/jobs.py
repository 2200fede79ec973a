"""One file from its snapshot of values to the sink. Blocks: for the publisher's thread."""

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

if TYPE_CHECKING:
    from injector.model.template import Template


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


def publish(jobs: Sequence[Job], sink: Sink) -> list[Done]:
    """
    Renders and publishes files, each for itself: one that fails costs no other anything.

    Raises nothing that is the user's: it is in the answers.
    """
    if len(jobs) > 1 and isinstance(sink, BatchSink):
        began = time.monotonic()
        rendered = [_render(job) for job in jobs]
        results = [result for result, _ in rendered if result is not None]
        with contextlib.suppress(InjectorError):  # whose fault it is is found out one by one
            changed = iter(sink.publish_many(results))
            seconds = (time.monotonic() - began) / len(jobs)
            return [
                done if result is None else _finished(done, changed=next(changed), seconds=seconds)
                for result, done in rendered
            ]
    return [_publish(job, sink) for job in jobs]


def _publish(job: Job, sink: Sink) -> Done:
    began = time.monotonic()
    result, done = _render(job)
    if result is None:
        return done
    try:
        changed = sink.publish(result)
    except InjectorError as error:
        return Done(job.seen.name, seconds=time.monotonic() - began, problems=done.problems, failure=error)
    return _finished(done, changed=changed, seconds=time.monotonic() - began)


def publish_set(jobs: Sequence[Job], sink: Sink) -> list[Done]:
    """Renders all, and publishes all or none: none when one that is required cannot be rendered."""
    began = time.monotonic()
    rendered = [_render(job) for job in jobs]
    results = [result for result, _ in rendered if result is not None]
    held = any(result is None and job.seen.own.required for job, (result, _) in zip(jobs, rendered, strict=True))
    if held or not results:
        return [Done(done.name, problems=done.problems) for _, done in rendered]
    try:
        changed = sink.publish_set(results)
    except InjectorError as error:
        return [Done(done.name, problems=done.problems, failure=error) for _, done in rendered]
    seconds = time.monotonic() - began
    return [done if result is None else _finished(done, changed=changed, seconds=seconds) for result, done in rendered]


def _render(job: Job) -> tuple[Result | None, Done]:
    template = job.seen.template
    assert template is not None
    rendered, problems = _rendered(job, template)
    if rendered.problems:
        return None, Done(job.seen.name, problems=rendered.problems)
    data = rendered.data.reveal()
    done = Done(job.seen.name, hashlib.sha256(data).hexdigest(), size=len(data), problems=problems)
    return Result(job.seen.name, job.target, job.root, rendered.data, job.seen.own, rendered.values), done


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
    return Done(done.name, done.digest, changed, done.size, seconds, done.problems)
