from __future__ import annotations

from pathlib import Path

import pytest

from charts.helm import Renderer, program


@pytest.fixture(scope="session")
def render(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    program()
    return Renderer(tmp_path_factory.mktemp("helm"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path
