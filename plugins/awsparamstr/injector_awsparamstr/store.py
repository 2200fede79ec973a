"""Tokens to calls of SSM: GetParameters for several, GetParameter for one."""

from __future__ import annotations

import itertools
import re
import threading
from typing import TYPE_CHECKING, Any

from injector.sdk.errors import AccessDenied, InvalidReference, NotFound, ResolutionError, Unavailable
from injector.sdk.store import Answer, Description, Reference, TokenStore
from injector_awsparamstr.batches import MOST_NAMES, assign, split
from injector_awsparamstr.client import LazyClient
from injector_awsparamstr.configuration import SCHEMA, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import ThreadPoolExecutor

    from injector.sdk.store import Outcome, Pair

IN_FLIGHT = 10
"""
Resolve calls at the same time. At 20 ms a call that is 500 calls a second, and no more than so many are refused at once
when SSM, which lets 40 a second through by default, begins to throttle.
"""

_THREADS = 16  # for calls beyond the first of a batch

_VERSION = re.compile(r"[1-9][0-9]{0,18}")
_LABEL = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]{0,99}")  # SSM's rule; one that begins with a digit reads as a version


class ParameterStore(TokenStore):
    """
    AWSPARAMSTR: parameters with decryption, ten a call, with nothing repeated.

    The path is the parameter's name or ARN as SSM takes it. Metadata: `version=N` or `label=NAME`, not both.
    """

    def __init__(self) -> None:
        self._clients = {"": LazyClient()}
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def describe(self) -> Description:
        """A batch is one call of SSM, so that the host's call budget counts SSM's calls."""
        return Description(prefixes=("AWSPARAMSTR",), largest_batch=MOST_NAMES, most_in_flight=IN_FLIGHT, schema=SCHEMA)

    def configure(self, connection: str, settings: Mapping[str, Any]) -> None:
        """Takes region, endpoint, roleArn and profile; a connection without some has the environment's."""
        client = LazyClient(parse(settings))
        with self._lock:
            self._clients[connection] = client

    def prepare(self) -> None:
        """Imports the AWS SDK and builds the client while the host is still connecting."""
        self._client("").get()

    def resolve(self, references: Sequence[Reference]) -> Iterable[Pair]:
        """
        One GetParameter for one reference; for more, GetParameters of at most ten names, side by side.

        A call that is refused as a whole, as by a policy that denies one of its names, is asked again name by name.
        """
        names: dict[str, list[Reference]] = {}
        wrong: list[Pair] = []
        for reference in references:
            try:
                names.setdefault(parameter_name(reference), []).append(reference)
            except ResolutionError as error:
                wrong.append((reference, error))
        client = self._client(references[0].connection)
        batches = split(names)
        answers = (
            (reference, outcome) for name, outcome in self._answers(client, batches) for reference in names[name]
        )
        if len(batches) <= 1:
            return [*wrong, *answers]  # all of them come with one call
        return itertools.chain(wrong, answers)

    def _client(self, connection: str) -> LazyClient:
        with self._lock:
            client = self._clients.get(connection)
        if client is None:
            raise InvalidReference(f"connection {connection!r} was not configured")
        return client

    def _answers(self, client: LazyClient, batches: list[list[str]]) -> Iterator[tuple[str, Outcome]]:
        for answers in self._side_by_side(_get_several, client, batches):
            refused = [name for name, outcome in answers if outcome is None]
            yield from ((name, outcome) for name, outcome in answers if outcome is not None)
            for single in self._side_by_side(_get_several, client, [[name] for name in refused]):
                yield from ((name, outcome) for name, outcome in single if outcome is not None)

    def _side_by_side(
        self, call: Any, client: LazyClient, batches: list[list[str]]
    ) -> Iterator[list[tuple[str, Outcome | None]]]:
        if len(batches) <= 1:
            yield from (call(client, batch) for batch in batches)
            return
        from concurrent.futures import as_completed  # late: start-up

        futures = [self._threads().submit(call, client, batch) for batch in batches]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()  # the host has gone: what has not begun need not begin

    def _threads(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor  # late: start-up

        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="ssm")
            return self._pool


def _get_several(client: LazyClient, names: list[str]) -> list[tuple[str, Outcome | None]]:
    """Each of *names* once; None for those that are to be asked one by one."""
    if len(names) == 1:
        return [(names[0], _get_one(client, names[0]))]
    used = None
    try:
        used = client.get()
        answer = used.get_parameters(Names=names, WithDecryption=True)
    except Exception as error:  # noqa: BLE001 - the SDK raises from four trees and the standard library
        failure = client.explain(error, used, name="")
        if isinstance(failure, AccessDenied | InvalidReference | NotFound):
            return [(name, None) for name in names]
        if isinstance(failure, ResolutionError):
            return [(name, failure) for name in names]
        raise failure from None  # they carry the answer
    found = {name: _outcome(client, name, parameter) for name, parameter in assign(names, answer)}
    return [(name, found.get(name) or _unanswered(client, name)) for name in names]


def _get_one(client: LazyClient, name: str) -> Outcome:
    used = None
    try:
        used = client.get()
        answer = used.get_parameter(Name=name, WithDecryption=True)
    except Exception as error:  # noqa: BLE001 - as above
        failure = client.explain(error, used, name=name)
        if isinstance(failure, ResolutionError):
            return failure
        raise failure from None
    return _outcome(client, name, answer.get("Parameter", {}))


def _outcome(client: LazyClient, name: str, parameter: Mapping[str, Any] | None) -> Outcome:
    if parameter is None:
        or_else = ", or not this version or label of it" if ":" in name.rpartition("/")[2] else ""
        return NotFound(f"SSM has no parameter {name!r}{or_else}", hint="check the name, the region and the account")
    value = parameter.get("Value")
    if not isinstance(value, str):
        return _unanswered(client, name)
    return Answer(value, version=str(parameter.get("Version", "")))


def _unanswered(client: LazyClient, name: str) -> Unavailable:
    return Unavailable(f"{client.endpoint} answered without a value for parameter {name!r}")


def parameter_name(reference: Reference) -> str:
    """
    The `Name` of the request: the path, with `:version` or `:label` when the metadata asks for one.

    InvalidReference for metadata that this plugin does not know.
    """
    metadata = reference.metadata
    _refuse_unknown(reference, metadata)
    version, label = metadata.get("version"), metadata.get("label")
    if version is not None and label is not None:
        raise InvalidReference(
            f"parameter {reference.path!r}: version and label are both given",
            hint="a label stands for a version: give one",
        )
    if version is not None and not _VERSION.fullmatch(version):
        raise InvalidReference(
            f"parameter {reference.path!r}: {version!r} is no version", hint="versions are whole numbers from 1"
        )
    if label is not None and not _LABEL.fullmatch(label):
        raise InvalidReference(
            f"parameter {reference.path!r}: {label!r} is no label",
            hint="labels are letters, digits, '.', '-' and '_', and do not begin with a digit",
        )
    selector = version or label
    return f"{reference.path}:{selector}" if selector else reference.path


def _refuse_unknown(reference: Reference, metadata: Mapping[str, str]) -> None:
    unknown = sorted(metadata.keys() - {"version", "label"})
    if unknown:
        raise InvalidReference(
            f"parameter {reference.path!r}: unknown metadata {', '.join(map(repr, unknown))}",
            hint="this plugin knows version=N and label=NAME",
        )
