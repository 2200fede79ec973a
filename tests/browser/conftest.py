"""One Chromium for all tests of the page."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from browser.user import User
from tools.ui_in_browser import emulate, missing_browser, start_browser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from selenium.webdriver import Chrome

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """The browser of all tests; they are skipped where there is none."""
    if reason := missing_browser():
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        for name in _PROXIES:  # selenium would ask a proxy for chromedriver's address
            patch.delenv(name, raising=False)
        driver = start_browser(tmp_path_factory.mktemp("browser") / "profile")
        try:
            yield driver
        finally:
            driver.quit()


@pytest.fixture
def user(chromium: Chrome) -> Iterator[User]:
    """A user with a clean browser; at the end its console must have nothing to complain of."""
    someone = User(chromium)
    emulate(chromium, width=1280, height=900)
    chromium.delete_all_cookies()
    someone.complaints()
    yield someone
    found = someone.complaints()
    chromium.get("about:blank")
    assert found == []


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """`start(Class, *arguments)`: a program that ends with the module."""
    with contextlib.ExitStack() as stack:

        def begin(kind: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
            program = kind(*arguments, **options)
            stack.callback(program.stop)
            return program

        yield begin


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty directory with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="ui-", ignore_cleanup_errors=True) as directory:
        yield Path(directory).resolve()
