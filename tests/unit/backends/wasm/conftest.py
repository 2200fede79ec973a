"""What the tests of WASM plugins share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from injector.backends.wasm.deadline import Deadline
from injector.backends.wasm.flavour import GuestConfiguration
from injector.backends.wasm.instance import InstanceLimits
from injector.backends.wasm.reactor import ReactorFlavour
from injector.backends.wasm.runtime import Runtime
from injector.model.references import Reference
from injector.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "plugin demo"


@pytest.fixture
def flavour() -> Callable[..., ReactorFlavour]:
    """`flavour(wasm, settings={...}, log=..., functions=[...], memory=..., answer=..., printed=...)`."""

    def make(wasm: bytes, *, settings: Any = None, log: Log | None = None, functions: Any = (), **limits: int) -> Any:
        runtime = Runtime.shared()
        return ReactorFlavour(
            runtime,
            runtime.compile(wasm, NAME),
            name=NAME,
            configuration=GuestConfiguration("demo", settings=settings or {}),
            limits=InstanceLimits(**limits),
            log=log or Log(Level.OFF),
            functions=functions,
        )

    return make


@pytest.fixture
def outcome(flavour: Callable[..., ReactorFlavour]) -> Callable[..., Any]:
    """`outcome(wasm, path="x", metadata="", timeout=30, **options of flavour)`: bytes, or the error of one token."""

    def ask(wasm: bytes, path: str = "x", metadata: str = "", *, timeout: float = 30, **options: Any) -> Any:
        with flavour(wasm, **options).open(Deadline(timeout)) as guest:
            ((_, answer),) = guest.answers([Reference("DEMO", path, metadata)])
        return answer if isinstance(answer, Exception) else answer.data.reveal()

    return ask
