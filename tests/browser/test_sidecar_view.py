"""A running sidecar as the page shows it."""

from __future__ import annotations

import pytest

from browser.sidecar import Sidecar, install_plugin, write
from browser.user import User
from tools.ui_in_browser import Page, eventually

pytestmark = pytest.mark.xdist_group("browser")  # one Chromium for all, where xdist keeps groups together
MARKUP = "<img src=x onerror=window.broken=1>.conf"
TURNED = "invoice-\u202egpj.conf"


@pytest.fixture(scope="module")
def sidecar(start, short) -> Sidecar:
    """Two good files with names that look like trouble, a missing value, and a plugin."""
    plugin = install_plugin(short)
    templates = short / "templates"
    write(templates / "app.conf", "user=DEMO://user\npassword=DEMO://password\n")
    write(templates / MARKUP, "user=DEMO://user\n")
    write(templates / TURNED, "user=DEMO://user\n")
    write(templates / "broken.conf", "x=DEMO://none\n")
    sidecar = start(Sidecar, short, "--plugin-path", str(short / "plugins"))
    sidecar.plugin = plugin
    return sidecar


@pytest.fixture
def page(user: User, start, sidecar: Sidecar, tmp_path) -> Page:
    page = start(Page, tmp_path, "--control", str(sidecar.control))
    user.opens(page.address)
    user.sees("app.conf")
    return page


def test_files_plugins_and_errors_are_shown(user: User, page: Page) -> None:
    user.sees("Starting", "4 files", "1 required file holds it back")
    user.sees("broken.conf", "Failed", "demo", "Running", "1 start", "Nobody is told when a file changes")
    assert user.title == "1 failed · injector"
    assert "value-of-" not in user.page_source
    names = [row.accessible_name for row in user.all("rowheader")]
    assert "broken.conf" in names[0], "what needs somebody comes first"


def test_tokens_of_a_file_are_shown_by_their_hashes(user: User, page: Page) -> None:
    user.clicks("button", "app.conf")
    user.one("table", "Values of this file")
    user.sees("Reference", "DEMO", "7", "Content changed")
    hashes = user.execute_script(
        "return [...document.querySelectorAll('.tokens code')].map((each) => each.textContent)"
    )
    assert len(hashes) == 2
    assert all(len(text) == 12 and int(text, 16) for text in hashes)
    assert "DEMO://" not in user.page_source
    assert user.execute_script("return document.querySelector('.tokens').getBoundingClientRect().height") > 0


def test_names_of_files_are_no_markup_and_turn_no_text(user: User, page: Page) -> None:
    user.sees(MARKUP, "invoice-U+202Egpj.conf")
    assert not user.execute_script("return window.broken || document.querySelector('main img')")
    assert "\u202e" not in user.text
    assert user.execute_script("return getComputedStyle(document.querySelector('.name bdi')).unicodeBidi") == "isolate"


def test_the_button_refreshes_the_sidecar(user: User, page: Page, sidecar: Sidecar) -> None:
    def asked() -> int:
        return len((sidecar.plugin / "asked").read_text())

    before = asked()
    user.presses("Refresh now")
    user.sees("Refreshed in", "4 files, 0 changed, 1 failed")
    assert asked() > before


def test_an_error_is_shown_while_it_lasts(user: User, page: Page, sidecar: Sidecar) -> None:
    (sidecar.plugin / "down").touch()
    try:
        user.presses("Refresh now")
        user.sees("the demo store is down", "Stale")
    finally:
        (sidecar.plugin / "down").unlink()
    user.presses("Refresh now")
    user.sees_no("the demo store is down")
    assert not [button for button in user.all("button") if button.accessible_name.startswith("Stale")]


def test_files_are_found_by_name_and_state(user: User, page: Page) -> None:
    user.fills("Find files by name", "BROK", role="searchbox")
    user.sees_no("app.conf")
    user.sees("broken.conf")
    user.fills("Find files by name", "en <b>", role="searchbox")
    user.sees("No file of this state has BROKen <b> in its name")
    user.one("searchbox", "Find files by name").clear()
    user.clicks("button", "Ready 3")
    user.sees_no("broken.conf")
    assert user.one("button", "Ready 3").get_attribute("aria-pressed") == "true"


def test_an_open_row_and_the_focus_stay_while_the_page_looks_again(user: User, page: Page) -> None:
    user.tabs_to("button app.conf")
    user.types(" ")
    user.one("table", "Values of this file")
    looks = "return performance.getEntriesByName(location.origin + '/api/sidecar').length"
    before = user.execute_script(looks)
    eventually("more looks", lambda: user.execute_script(looks) >= before + 2)
    assert user.focused == "button app.conf"
    assert user.one("button", "app.conf").get_attribute("aria-expanded") == "true"


def test_the_chart_has_a_table_with_the_same(user: User, page: Page) -> None:
    eventually("two samples", lambda: "rendered in the last" in user.text)
    user.clicks("DisclosureTriangle", "The same as a table")
    user.sees("answered")
    assert user.execute_script("return document.querySelectorAll('#chart-table tbody tr').length") >= 1
    user.presses("Refresh now")
    eventually("a bar", lambda: user.execute_script("return document.querySelectorAll('#chart rect.bar').length"))


def test_times_tell_the_clock_when_a_row_has_the_focus(user: User, page: Page) -> None:
    shown = "return getComputedStyle(document.querySelector('.file-row:has(:focus) .when .absolute')).display"
    user.tabs_to("button app.conf")
    assert user.execute_script(shown) == "block"
    assert "ago" in user.text


def test_a_page_that_nobody_sees_asks_for_nothing(user: User, page: Page) -> None:
    looks = "return performance.getEntriesByName(location.origin + '/api/sidecar').length"
    # Headless, every tab is seen: this is what a browser says of one that is not.
    hide = "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
    user.execute_script(hide + "document.dispatchEvent(new Event('visibilitychange'))", True)
    eventually("the last look", lambda: user.settled(looks, seconds=3))
    before = user.execute_script(looks)
    user.execute_script(hide + "document.dispatchEvent(new Event('visibilitychange'))", False)
    eventually("looks again", lambda: user.execute_script(looks) > before)


def test_a_sidecar_that_goes_and_comes_is_followed(user: User, start, short, tmp_path) -> None:
    here = short / "other"
    write(here / "templates" / "one.conf", "x=1\n")
    other = start(Sidecar, here)
    user.opens(start(Page, tmp_path, "--control", str(other.control)).address)
    user.sees("Ready", "1 file", "all as they should be")
    other.stop()
    user.sees("The sidecar does not answer", "What follows is from", "one.conf")
    assert not user.all("button", "Refresh now")
    start(Sidecar, here)
    user.sees("Ready")
    user.sees_no("does not answer")
