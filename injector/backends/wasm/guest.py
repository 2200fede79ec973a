"""What the guests of both flavours have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.backends.wasm.failures import shown
from injector.errors import InvalidConfiguration

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from injector.backends.wasm.flavour import GuestConfiguration
    from injector.backends.wasm.instance import Instance


class InstanceGuest:
    """A guest that is one fresh instance, and closes it; the rest of `flavour.Guest` is its flavour's."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    @property
    def instance(self) -> Instance:
        return self._instance

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._instance.close()

    def _refused(self, configuration: GuestConfiguration, status: int | None, said: str) -> InvalidConfiguration:
        """The error for a guest that does not take *configuration*; *said* is its own text, which may be empty."""
        because = shown(said, self._instance.log.redactor) or f"status {status}"
        return InvalidConfiguration(
            f"{self._instance.name} does not take its settings ({configuration.shown}): {because}",
            hint="correct the connection, or plugins.configuration",
        )
