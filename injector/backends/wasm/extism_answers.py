"""
The JSON of an Extism plugin's `resolve`: references in, answers out. Pure; docs/wasm-plugins.md is its specification.

    {"version": 1, "references": [{"path": "/app/db", "metadata": {"version": "3"}}]}

    {"answers": [{"reference": 0, "value": "text"}, {"reference": 1, "value_base64": "AAE="},
                 {"reference": 2, "error": {"kind": "not_found", "message": "…", "retry_after": 1.5}}]}

`release` is told {"version": 1, "leases": ["l1"]}, and has nothing to say.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from injector.backends.wasm.failures import failure
from injector.errors import PluginAnswerInvalid
from injector.model.references import Lease, Value
from injector.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from injector.backends.contract import Answer, Outcome
    from injector.model.references import Reference
    from injector.telemetry.redaction import Redactor

VERSION: Final = 1


class _Error(Struct, frozen=True):
    kind: str = ""
    message: str = ""
    retry_after: float | None = None


class _Lease(Struct, frozen=True):
    id: str
    duration: float
    renewable: bool = False


class _Answer(Struct, frozen=True):
    reference: int
    value: str | None = None
    value_base64: str | None = None
    error: _Error | None = None
    version: str | None = None
    ttl: float | None = None
    lease: _Lease | None = None


class _Answers(Struct, frozen=True):
    answers: tuple[_Answer, ...]


def request(references: Sequence[Reference]) -> bytes:
    """The input of `resolve`: all of one connection."""
    asked = [{"path": reference.path, "metadata": _metadata(reference.metadata)} for reference in references]
    return json.dumps({"version": VERSION, "references": asked}, ensure_ascii=False).encode()


def release(leases: Sequence[str]) -> bytes:
    """The input of `release`: the ids of leases of one connection."""
    return json.dumps({"version": VERSION, "leases": list(leases)}, ensure_ascii=False).encode()


def answers(
    data: bytes, references: Sequence[Reference], *, plugin: str, most: int, redactor: Redactor
) -> Iterator[Answer]:
    """
    What `resolve` said of *references*; a value has *most* bytes at most.

    Raises PluginAnswerInvalid when *data* is no answer, says something twice or unasked, or leaves something out.
    """
    try:
        said = msgspec.json.decode(data, type=_Answers)
    except (msgspec.DecodeError, UnicodeDecodeError):  # its text would quote the answer
        raise _fault(plugin, "answers with what is not the JSON of docs/wasm-plugins.md") from None
    left = dict(enumerate(references))
    for answer in said.answers:
        reference = left.pop(answer.reference, None)
        if reference is None:
            raise _fault(plugin, f"answered number {answer.reference} of its batch twice or unasked")
        yield reference, _outcome(answer, reference, plugin=plugin, most=most, redactor=redactor)
    if left:
        raise _fault(plugin, f"gave no answer for {next(iter(left.values()))}")


def _outcome(answer: _Answer, reference: Reference, *, plugin: str, most: int, redactor: Redactor) -> Outcome:
    if sum(each is not None for each in (answer.value, answer.value_base64, answer.error)) != 1:
        return _fault(plugin, f"answered {reference} with none or several of value, value_base64 and error")
    if answer.error is not None:
        error = answer.error
        return failure(
            error.kind, error.message, plugin=plugin, what=reference, redactor=redactor, retry_after=error.retry_after
        )
    try:
        data = _bytes(answer)
    except (binascii.Error, ValueError):
        return _fault(plugin, f"answered {reference} with a value_base64 that is none")
    if len(data) > most:
        return PluginAnswerInvalid(
            f"{plugin} answered {reference} with {len(data)} bytes, and {most} are the most for a value",
            hint="raise the setting plugins.maxValueSize if the value is meant to be so large",
        )
    lease = answer.lease
    return Value(
        Secret(data),
        version=answer.version or None,
        ttl=_seconds(answer.ttl),
        lease=Lease(lease.id, _seconds(lease.duration) or 0.0, lease.renewable) if lease is not None else None,
    )


def _bytes(answer: _Answer) -> bytes:
    if answer.value is not None:
        return answer.value.encode()
    return base64.b64decode((answer.value_base64 or "").encode("ascii"), validate=True)


def _seconds(seconds: float | None) -> float | None:
    return max(0.0, seconds) if seconds is not None and math.isfinite(seconds) else None


def _metadata(text: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split(",") if pair.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _fault(plugin: str, what: str) -> PluginAnswerInvalid:
    return PluginAnswerInvalid(f"{plugin} {what}", hint="this is a fault of the plugin")
