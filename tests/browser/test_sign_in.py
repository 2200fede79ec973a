"""Who gets in, and what those are told who do not."""

from __future__ import annotations

import pytest

from browser.user import User
from tools.ui_in_browser import Page

pytestmark = pytest.mark.xdist_group("browser")  # one Chromium for all, where xdist keeps groups together


@pytest.fixture
def page(start, tmp_path) -> Page:
    return start(Page, tmp_path)


def test_the_printed_address_signs_in_and_leaves_the_address_bar(user: User, page: Page) -> None:
    user.opens(page.address)
    user.sees("No sidecar to look at", "injector ui --control")
    assert user.current_url == f"{page.origin}/"
    assert page.token not in user.page_source
    user.refresh()
    user.sees("No sidecar to look at")
    user.back()
    assert page.token not in user.current_url


def test_an_address_that_was_used_does_no_harm_to_who_is_signed_in(user: User, page: Page) -> None:
    user.opens(page.address)
    user.sees("No sidecar to look at")
    user.opens(page.address)
    user.sees("No sidecar to look at")


def test_an_address_that_was_used_says_what_to_do(user: User, page: Page) -> None:
    user.opens(page.address)
    user.sees("No sidecar to look at")
    user.delete_all_cookies()
    user.opens(page.address)
    user.sees("The token is wrong, was used, or is too old", "press Enter", "it prints a new address")
    assert page.token not in user.current_url
    assert not user.all("link", "Connections")


def test_an_address_can_be_pasted(user: User, page: Page) -> None:
    user.opens(page.origin)
    user.focuses("heading Sign in")
    user.fills("Address", page.address)
    user.presses("Sign in")
    user.sees("No sidecar to look at")
    assert page.token not in user.page_source


def test_an_address_for_a_page_that_is_open_already_signs_in(user: User, page: Page) -> None:
    user.opens(page.origin)
    user.sees("Sign in")
    user.execute_script("location.assign(arguments[0])", page.address)
    user.sees("No sidecar to look at")
    assert user.current_url == f"{page.origin}/"


def test_signing_out_ends_the_session(user: User, page: Page) -> None:
    user.opens(page.address)
    user.clicks("link", "About")
    user.presses("Sign out")
    user.sees("It works once, and for five minutes")
    user.refresh()
    user.sees("It works once, and for five minutes")


def test_a_program_that_has_ended_is_said_to_have(user: User, page: Page) -> None:
    user.opens(page.address)
    user.sees("No sidecar to look at")
    user.clicks("link", "Connections")
    user.sees("No connection yet")
    assert page.stop() == 0
    user.execute_script("document.dispatchEvent(new Event('visibilitychange'))")  # it looks at once
    user.sees("The program has ended", "Start `injector ui` again")
