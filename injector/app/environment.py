"""
A template of environment variables: a dotenv file whose values hold tokens.

It is parsed first and each value is resolved by itself, so what the variable gets is exactly the secret: no quote,
dollar sign or line break of it can end the value or begin another.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from injector.app import scanning
from injector.app.connecting import with_default_connections
from injector.app.resolving import values_of
from injector.errors import EnvironmentInvalid, InjectorError, RunFailed
from injector.model.template import Source
from injector.plan.planner import make_plan
from injector.render.renderer import Renderer
from injector.template.scanner import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dotenv.parser import Binding

    from injector.backends.registry import Registry
    from injector.model.secret import Secret
    from injector.model.template import Template
    from injector.settings.schema import FileSettings, Settings
    from injector.telemetry.logs import Log


class Variable(Struct, frozen=True):
    """A variable of an env template. `value` is a template of its own, placed in the file."""

    name: str
    value: Source


class Variables(Struct, frozen=True):
    """Resolved variables, and the missing values that a policy let pass, each with its place."""

    values: Mapping[str, Secret]
    forgiven: tuple[InjectorError, ...] = ()


def read_variables(source: Source) -> tuple[Variable, ...]:
    """
    The variables of a dotenv file, nothing in them replaced yet; of two with one name the later.

    Raises RunFailed with an EnvironmentInvalid for every line that is none.
    """
    from dotenv.parser import parse_stream  # late: `exec` only

    try:
        text = source.data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = source.place(error.start)
        raise EnvironmentInvalid("an env template is text in UTF-8", place=place) from None
    variables: dict[str, Variable] = {}
    problems: list[InjectorError] = []
    offset = 0
    # `newline=""`: the parser would otherwise see other line breaks than the file has, and places would be wrong.
    for binding in parse_stream(io.StringIO(text, newline="")):
        start = offset
        offset += len(binding.original.string.encode())
        problem = _problem(binding)
        if problem is not None:
            problems.append(problem.at(source.place(_first_word(source.data, start))))
        elif binding.key is not None:
            assert binding.value is not None
            variables[binding.key] = Variable(binding.key, _placed(binding.value, source, start, offset))
    if problems:
        raise RunFailed(problems)
    return tuple(variables.values())


def _problem(binding: Binding) -> EnvironmentInvalid | None:
    if binding.error:
        return EnvironmentInvalid(
            "this is no variable", hint="write NAME=value; quote values with blanks, quotes and line breaks"
        )
    if binding.key is None:
        return None
    if not binding.key or "=" in binding.key or "\0" in binding.key:
        return EnvironmentInvalid("this is no name of a variable", hint="letters, digits and _ are safe")
    if binding.value is None:
        return EnvironmentInvalid(f"{binding.key} has no value", hint=f"write {binding.key}= for an empty one")
    return None


def _first_word(data: bytes, offset: int) -> int:
    rest = data[offset:]
    return offset + len(rest) - len(rest.lstrip())


def _placed(value: str, source: Source, start: int, end: int) -> Source:
    """The value as a source whose places are those of the file. Behind an escape sequence they are near, not exact."""
    data = value.encode()
    key_end = source.data.find(b"=", start, end)
    found = source.data.find(data, key_end + 1, end)
    begin = found if found >= 0 else key_end + 1
    return Source(source.name, data, original=source.data, shifts=((0, begin), (len(data) + 1, end)))


async def resolve_variables(
    variables: Sequence[Variable],
    settings: Settings,
    registry: Registry,
    *,
    environment: Mapping[str, str],
    log: Log,
    progress: Callable[[int, int], None] | None = None,
) -> Variables:
    """
    The values of *variables*. Raises RunFailed with everything that is wrong with tokens and values.

    What an environment cannot hold, a NUL byte, is an EnvironmentInvalid at the variable's place.
    """
    templates = _scan(variables, settings, registry, environment)
    plan = make_plan(templates)
    values = await values_of(plan, settings, registry, log=log, progress=progress)
    renderer = Renderer(values)
    resolved: dict[str, Secret] = {}
    problems: list[InjectorError] = []
    forgiven: list[InjectorError] = []
    for variable, template in zip(variables, templates, strict=True):
        rendered = renderer.render(template, settings.for_file(template.source.name).missing)
        forgiven += rendered.forgiven
        problems += rendered.problems or _unfit(variable, rendered.data)
        resolved[variable.name] = rendered.data
    if problems:
        raise RunFailed(problems)
    return Variables(resolved, tuple(forgiven))


def _unfit(variable: Variable, value: Secret) -> Iterator[InjectorError]:
    if b"\0" in value.reveal():
        yield EnvironmentInvalid(
            f"the value of {variable.name} holds a NUL byte, which no environment variable can",
            hint="write it to a file instead",
            place=variable.value.place(0),
        )


def _scan(
    variables: Sequence[Variable], settings: Settings, registry: Registry, environment: Mapping[str, str]
) -> tuple[Template, ...]:
    ready: list[tuple[Source, FileSettings]] = []
    problems: list[InjectorError] = []
    for variable in variables:
        own = settings.for_file(variable.value.name)
        source, unset = _substituted(variable.value, own, environment)
        problems += unset
        ready.append((source, own))
    prefixes = scanning.prefixes_of(ready, registry)
    templates = tuple(scan(source, scanning.grammar_of(own, prefixes)) for source, own in ready)
    for template in templates:
        problems += template.problems
    if problems:
        raise RunFailed(problems)
    return with_default_connections(templates, settings, registry)


def _substituted(
    source: Source, own: FileSettings, environment: Mapping[str, str]
) -> tuple[Source, Sequence[InjectorError]]:
    done, unset = scanning.substituted(source, own, environment)
    if done is source:
        return source, unset
    begin = source.shifts[0][1]
    shifts = tuple((here, begin + there) for here, there in done.shifts)
    return replace(done, original=source.original, shifts=shifts), unset
