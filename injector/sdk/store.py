"""What a plugin author writes: a store that answers references."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from injector.errors import InvalidConfiguration, InvalidReference, ResolutionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Reference:
    """
    What a token asks for: `AWSPARAMSTR:///app/db|password[version=3]` is path `/app/db` and metadata `version=3`.

    `path` stands as it was written; what follows the key separator stays with the host. `raw_metadata` is the text
    between the brackets, empty when there is none. `connection` names the credentials that were given by `configure`;
    "" stands for those of the plugin's environment, and is all that protocol 1 knows.
    """

    path: str
    raw_metadata: str = ""
    connection: str = ""

    @property
    def metadata(self) -> Mapping[str, str]:
        """
        The pairs of `raw_metadata`: names without surrounding blanks, values as they stand.

        InvalidReference when a pair has no `=` or no name, or when a name is there twice.
        """
        pairs: dict[str, str] = {}
        for pair in self.raw_metadata.split(",") if self.raw_metadata else ():
            name, equals, value = pair.partition("=")
            name = name.strip()
            if not equals or not name:
                raise InvalidReference(
                    f"metadata of {self.path!r}: {pair!r} is not name=value", hint="write [name=value,name=value]"
                )
            if name in pairs:
                raise InvalidReference(f"metadata of {self.path!r}: {name!r} is given twice", hint="give it once")
            pairs[name] = value
        return pairs


class Lease(NamedTuple):
    """
    The right to use a value for a time: `id` is what `release` gets, `duration` is in seconds from now, `renewable`
    whether the store could prolong it.
    """

    id: str
    duration: float
    renewable: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """
    A value with what the store says about it. Protocol 1 carries the value alone.

    `version` is the store's name for this state of the value. `ttl` is in seconds: how long the value may be used
    before the host asks again; None when the store does not say.
    """

    value: str | bytes
    version: str = ""
    ttl: float | None = None
    lease: Lease | None = None


class RateLimit(NamedTuple):
    """A token bucket: calls of `resolve` a second, and how many may come at once after a pause."""

    calls_per_second: float
    burst: int = 1


class Description(NamedTuple):
    """
    What a store says about itself to hosts of protocol 2.

    `prefixes` are those of its tokens, in upper case; empty when it answers for whatever name it is installed under.
    `name` and `version` are those given to `serve` unless they are set. `largest_batch` is the most references for one
    call of `resolve`: best what the service takes in one call of its own. `most_in_flight` is the most calls at the
    same time; None for as many as `serve` has workers. `rate_limit` is for services whose limit is known beforehand.
    `schema` is the JSON Schema of what `configure` takes, None when it takes nothing.
    """

    prefixes: tuple[str, ...] = ()
    name: str = ""
    version: str = ""
    largest_batch: int = 1
    most_in_flight: int | None = None
    rate_limit: RateLimit | None = None
    schema: Mapping[str, Any] | None = None


Outcome: TypeAlias = str | bytes | Answer | ResolutionError
"""A value (text, or bytes when it may be binary), a value with its version and lease, or why there is none."""

Pair: TypeAlias = tuple[Reference, Outcome]


class TokenStore(ABC):
    """
    A store of secrets, or of anything else that a token can name.

    One object answers many calls at the same time, each on a thread of its own: what it shares must be safe for
    that. Do slow things at the first call or in `prepare`, not in `__init__`: the host waits for the plugin's start.

    The same class serves both protocols. A host of protocol 1 asks for one reference at a time and knows nothing of
    `describe`, `configure`, `watch` and `release`.
    """

    @abstractmethod
    def resolve(self, references: Sequence[Reference]) -> Iterable[Pair]:
        """
        Answers for *references*, each once, in any order. What a generator yields is sent at once; a list, for answers
        that are known together anyway, is sent as a whole, which is cheaper.

        All are of one connection. A reference's own failure is its answer. An error of `injector.sdk.errors` that is
        raised stands for all that were not answered yet. Of any other exception the host learns the type only, since
        its text may hold a value.
        """

    def describe(self) -> Description:
        """What the store is and how it wants to be asked; called once, and must not wait for anything. Optional."""
        return Description()

    def configure(self, connection: str, settings: Mapping[str, Any]) -> None:
        """
        Takes the settings of a connection, before its first reference; again when they have changed. Optional.

        *settings* is what `Description.schema` describes: JSON's types, with whole numbers as int. Raise
        `InvalidConfiguration` for what makes no sense, and check only what needs no call.
        """
        del connection
        if settings:
            raise InvalidConfiguration("this plugin takes no settings", hint="leave them away")

    def watch(self, references: Sequence[Reference]) -> Iterable[Reference | None]:
        """
        Yields each of *references* whose value may have changed, for as long as the host wants to know. Optional.

        Yield None from time to time when nothing changes (a second or so): that is where a watch ends that the host
        no longer wants. A store that does not override this says to hosts that it cannot watch.
        """
        raise NotImplementedError

    def release(self, leases: Sequence[str]) -> None:  # noqa: B027 - optional
        """Gives leases back, named by their ids, before the process ends. Optional."""

    def prepare(self) -> None:  # noqa: B027 - optional
        """Called once, on a thread of its own, when the plugin has started: the place for slow imports. Optional."""

    def close(self) -> None:  # noqa: B027 - optional
        """Called once before the process ends; it has half a second. Optional."""


class LookupStore(TokenStore):
    """A store whose service gives one value a call: write `look_up` and every failure is its own reference's."""

    @abstractmethod
    def look_up(self, reference: Reference) -> str | bytes | Answer:
        """The value of *reference*. Errors of `injector.sdk.errors` say why there is none."""

    def resolve(self, references: Sequence[Reference]) -> Iterable[Pair]:
        """Looks the references up one after the other."""
        for reference in references:
            try:
                yield reference, self.look_up(reference)
            except ResolutionError as error:
                yield reference, error
