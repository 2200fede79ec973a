"""Fixtures of every test: one event loop kind, and an environment that is the test's own."""

from __future__ import annotations

import os

import pytest

# Before anything imports grpc: its fork handlers can abort a child between fork and exec (see goplugin/transport.py).
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


# Fixtures of integration and contract tests; it is found by `pythonpath` in pyproject.toml.
pytest_plugins = ["fixtures_processes", "fixtures_http"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """asyncio: grpc.aio knows nothing else."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the developer's shell reaches a test: no credentials, no INJECTOR_*, no PLUGIN_*."""
    for name in list(os.environ):
        if name.startswith(("INJECTOR_", "PLUGIN_", "AWS_", "CONFIGMANAGER", "VAULT_", "AZURE_", "GOOGLE_")):
            monkeypatch.delenv(name)
