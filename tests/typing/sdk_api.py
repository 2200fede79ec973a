"""What an author's type checker sees of the SDK. Read by mypy in `make types`, never run."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn, assert_type

import pytest

from injector.errors import InjectorError
from injector.sdk import (
    AccessDenied,
    Answer,
    CredentialsRefused,
    Description,
    InvalidConfiguration,
    InvalidReference,
    Lease,
    Logger,
    LookupStore,
    NotFound,
    Outcome,
    Pair,
    RateLimit,
    Reference,
    ResolutionError,
    Throttled,
    TimedOut,
    TokenStore,
    Unavailable,
    serve,
)
from injector.sdk.testing import FakeHost, LogLine, PluginContract, resolve_in_process


class Text(LookupStore):
    def look_up(self, reference: Reference) -> str:
        assert_type(reference.path, str)
        assert_type(reference.raw_metadata, str)
        assert_type(reference.metadata, Mapping[str, str])
        raise NotFound("no such path", hint="write it otherwise")


class Binary(LookupStore):
    def look_up(self, reference: Reference) -> bytes:
        return b""


class Batches(TokenStore):
    def resolve(self, references: Sequence[Reference]) -> Iterable[Pair]:
        for reference in references:
            yield reference, "text"
            yield reference, b"bytes"
            yield reference, Answer(b"bytes", version="7", ttl=60.0, lease=Lease("id", 60.0, renewable=True))
            yield reference, Throttled("slow down", retry_after=2.5)

    def describe(self) -> Description:
        return Description(
            prefixes=("TEXT",), largest_batch=10, most_in_flight=4, rate_limit=RateLimit(40.0, burst=10), schema={}
        )

    def configure(self, connection: str, settings: Mapping[str, Any]) -> None:
        raise InvalidConfiguration("this makes no sense", hint="leave it away")

    def watch(self, references: Sequence[Reference]) -> Iterable[Reference | None]:
        yield from references

    def release(self, leases: Sequence[str]) -> None: ...

    def prepare(self) -> None: ...

    def close(self) -> None: ...


class WrongValue(LookupStore):
    def look_up(self, reference: Reference) -> int:  # type: ignore[override]  # a number is no value
        return 1


class WrongAnswer(TokenStore):
    def resolve(self, references: Sequence[Reference]) -> Iterable[Pair]:
        for reference in references:
            yield reference, 1  # type: ignore[misc]  # nor is it in an answer


def errors() -> list[ResolutionError]:
    return [
        AccessDenied(""),
        CredentialsRefused(""),
        InvalidConfiguration(""),
        InvalidReference(""),
        NotFound(""),
        Throttled(""),
        TimedOut(""),
        Unavailable(""),
    ]


def run() -> NoReturn:
    Logger("text").warn("constant text", count=3, path="/a")
    serve(Text(), name="text", version="1.0", workers=8)


def not_a_store() -> NoReturn:
    serve("text")  # type: ignore[arg-type]  # an object of TokenStore is expected


def hosts() -> None:
    with FakeHost([sys.executable, "-m", "text"], environment={"A": "b"}, protocols=(1, 2)) as host:
        assert_type(host, FakeHost)
        assert_type(host.value("/a", "version=1", timeout=1.0), str)
        assert_type(host.outcomes(["/a", ("/b", "version=1"), Reference("/c")]), list[str | InjectorError])
        assert_type(host.resolve(["/a", ("/b", "version=1")]), list[tuple[int, Answer | InjectorError]])
        assert_type(host.describe().largest_batch, int)
        host.configure("other", {"region": "eu-west-1"})
        host.cancel(["/a"], after=1)
        assert_type(host.log, list[LogLine])
        assert_type(host.wait(1.0), int | None)
    assert_type(resolve_in_process(Batches(), ["/a"]), list[Outcome])


class TestText(PluginContract):
    command = [sys.executable, "-m", "text"]
    known = {"/a": "value of a"}
    known_with_metadata = {("/a", "version=1"): "another"}
    missing = "/nope"
    ends_with_its_host = False
    known_bytes = {"/binary": b"\xff"}
    prefix = "TEXT"

    @pytest.fixture
    def plugin_environment(self) -> Mapping[str, str]:
        return {}
