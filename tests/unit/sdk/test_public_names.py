"""`injector.sdk` and `injector.sdk.testing` as authors import them."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

PACKAGES = ["injector.sdk", "injector.sdk.testing"]


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*sorted(sys.modules))"
    return set(
        subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, check=True, text=True).stdout.split()
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_listed(package):
    module = importlib.import_module(package)
    assert module.__all__ == sorted(module.__all__)
    assert set(module._HOMES) == set(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_is_not_there_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match="nope"):
        importlib.import_module(package).nope  # noqa: B018


def test_the_package_by_itself_imports_nothing():
    loaded = {name for name in modules_after("import injector.sdk") if name.startswith("injector")}
    assert loaded == {"injector", "injector.sdk"}


def test_the_fake_host_needs_neither_grpc_nor_pytest_until_it_is_used():
    loaded = modules_after("from injector.sdk.testing import FakeHost, resolve_in_process")
    assert not loaded & {"grpc", "google.protobuf", "pytest"}
    assert not {name for name in loaded if name.startswith(("injector.backends", "injector.cli", "injector.model"))}
