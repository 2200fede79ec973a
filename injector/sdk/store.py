"""What a plugin author writes: a store that answers references."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from injector.errors import InvalidReference, ResolutionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Reference:
    """
    What a token asks for: `AWSPARAMSTR:///app/db|password[version=3]` is path `/app/db` and metadata `version=3`.

    `path` stands as it was written; what follows the key separator stays with the host. `raw_metadata` is the text
    between the brackets, empty when there is none.
    """

    path: str
    raw_metadata: str = ""

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


Outcome: TypeAlias = str | bytes | ResolutionError
"""A value (text, or bytes when it may be binary), or why there is none."""

Answer: TypeAlias = tuple[Reference, Outcome]


class TokenStore(ABC):
    """
    A store of secrets, or of anything else that a token can name.

    One object answers many calls at the same time, each on a thread of its own: what it shares must be safe for
    that. Do slow things at the first call or in `prepare`, not in `__init__`: the host waits for the plugin's start.
    """

    @abstractmethod
    def resolve(self, references: Sequence[Reference]) -> Iterable[Answer]:
        """
        Answers for *references*, each once, in any order; a generator may give them as they come.

        A reference's own failure is its answer. An error of `injector.sdk.errors` that is raised stands for all that
        were not answered yet. Of any other exception the host learns the type only, since its text may hold a value.
        """

    def prepare(self) -> None:  # noqa: B027 - optional
        """Called once, on a thread of its own, when the plugin has started: the place for slow imports. Optional."""

    def close(self) -> None:  # noqa: B027 - optional
        """Called once before the process ends; it has half a second. Optional."""


class LookupStore(TokenStore):
    """A store whose service gives one value a call: write `look_up` and every failure is its own reference's."""

    @abstractmethod
    def look_up(self, reference: Reference) -> str | bytes:
        """The value of *reference*. Errors of `injector.sdk.errors` say why there is none."""

    def resolve(self, references: Sequence[Reference]) -> Iterable[Answer]:
        """Looks the references up one after the other."""
        for reference in references:
            try:
                yield reference, self.look_up(reference)
            except ResolutionError as error:
                yield reference, error
