"""Connections, added, tested and removed in the page; their secrets are nowhere."""

from __future__ import annotations

import json

import pytest
from selenium.webdriver.common.keys import Keys

from browser.sidecar import install_plugin, write
from browser.user import User
from tools.ui_in_browser import Page, eventually

pytestmark = pytest.mark.xdist_group("browser")  # one Chromium for all, where xdist keeps groups together
CANARY = "canary-4711-of-a-secret"
# Everything that a page keeps: markup, what inputs hold, storages, what was asked for and when, the window's own names.
EVERYTHING = """
const held = [document.documentElement.outerHTML, document.title, location.href, document.cookie, name];
held.push(...[...document.querySelectorAll('input, select, textarea')].map((field) => field.value));
held.push(JSON.stringify(localStorage), JSON.stringify(sessionStorage), JSON.stringify(history.state));
held.push(JSON.stringify(performance.getEntries()));
held.push(...Object.getOwnPropertyNames(window).map((key) => typeof window[key] === 'string' ? window[key] : ''));
return held.join('\\n');
"""


@pytest.fixture
def page(user: User, start, tmp_path) -> Page:
    """The view of connections, with a plugin for DEMO and no connection."""
    install_plugin(tmp_path)
    page = start(Page, tmp_path, "--plugin-path", str(tmp_path / "plugins"))
    user.opens(page.address)
    user.clicks("link", "Connections")
    user.sees("No connection yet")
    return page


def add(user: User, name: str, *, region: str = "eu-west-1", secret: str = CANARY) -> None:
    user.presses("Add connection")
    user.fills("Name", name)
    user.fills("Prefix", "DEMO", role="combobox")
    user.fills("Name of the setting", "region")
    user.fills("Value", region)
    user.fills("Name of the secret", "password")
    user.fills("Secret", secret)
    user.types(Keys.ENTER)


def test_the_keyboard_is_enough(user: User, page: Page) -> None:
    user.tabs_to("button Add connection")
    user.types(Keys.ENTER)
    user.focuses("textbox Name")
    user.sees("Known here: AWSPARAMSTR, DEMO")
    user.types("prod-eu")
    user.tabs_to("combobox Prefix")
    user.types("demo")
    user.tabs_to("textbox Name of the setting")
    user.types("region", Keys.TAB, "eu-west-1")
    user.tabs_to("textbox Name of the secret")
    user.types("password", Keys.TAB, CANARY, Keys.ENTER)
    user.sees("Added prod-eu", "DEMO", "region", "eu-west-1", "password", "encrypted")
    user.focuses("button Add connection")

    user.tabs_to("button Test prod-eu")
    user.types(Keys.ENTER)
    user.focuses("textbox Path of a value to ask for (optional)")
    user.types(Keys.ENTER)
    user.sees("plugin demo", "took the connection prod-eu", "a path finds out")
    user.types("user", Keys.ENTER)
    user.sees(f"It answered user with {len('value-of-user')} bytes")
    user.types(Keys.ESCAPE)
    user.focuses("button Test prod-eu")

    user.tabs_to("button Remove prod-eu")
    user.types(Keys.ENTER)
    user.focuses("textbox Type its name to remove it")
    user.types("prod", Keys.ENTER)
    user.sees("That is not its name")
    user.tabs_to("textbox Type its name to remove it")
    user.types("prod-eu", Keys.ENTER)
    user.sees("Removed prod-eu", "No connection yet")
    user.focuses("heading Connections")


def test_a_secret_is_nowhere_in_the_page(user: User, page: Page) -> None:
    add(user, "prod-eu")
    user.sees("Added prod-eu")
    assert CANARY not in user.execute_script(EVERYTHING)
    add(user, "prod-eu", secret="canary-of-another")
    user.sees("There is a connection `prod-eu`", "the secrets were cleared")
    assert "canary-of" not in user.execute_script(EVERYTHING)
    user.types(Keys.ESCAPE)
    user.presses("Add connection")
    user.fills("Secret", CANARY)
    assert CANARY in user.execute_script(EVERYTHING), "it is in its field, so this test would find it"
    user.types(Keys.ESCAPE)
    eventually("the field is emptied", lambda: CANARY not in user.execute_script(EVERYTHING))
    assert CANARY not in page.log.read_text() + page.out.read_text()


def test_what_is_wrong_is_said_beside_the_form_and_has_the_focus(user: User, page: Page) -> None:
    add(user, "No Name")
    user.sees("This is no name for a connection", "such as prod-eu", "connection-invalid")
    assert user.focused.startswith("alert")
    assert user.execute_script("return document.activeElement.closest('dialog').open")
    user.one("textbox", "Name").clear()
    user.fills("Name", "prod-eu")
    user.fills("Secret", CANARY)
    user.types(Keys.ENTER)
    user.sees("Added prod-eu")


def test_a_field_that_is_there_twice_is_refused_before_anything_is_sent(user: User, page: Page) -> None:
    user.presses("Add connection")
    user.fills("Name of the setting", "region")
    user.presses("Add setting")
    user.types("region", Keys.ENTER)
    user.sees("Region is there twice")
    asked = "return performance.getEntriesByName(location.origin + '/api/connections').length"
    assert user.execute_script(asked) == 1, "the list, and nothing else"


def test_rows_come_and_go(user: User, page: Page) -> None:
    user.presses("Add connection")
    user.presses("Add secret")
    assert len(user.all("textbox", "Name of the secret")) == 2
    user.all("button", "Leave this secret away")[0].click()
    user.focuses("button Add secret")
    assert len(user.all("textbox", "Name of the secret")) == 1
    user.presses("Leave this setting away")
    assert not user.all("textbox", "Name of the setting")


def test_escape_closes_and_forgets(user: User, page: Page) -> None:
    user.presses("Add connection")
    user.fills("Name", "half-typed")
    user.types(Keys.ESCAPE)
    user.focuses("button Add connection")
    assert not user.all("dialog")
    user.types(Keys.ENTER)
    assert user.one("textbox", "Name").get_attribute("value") == ""


def test_a_connection_that_its_plugin_refuses_is_told_why(user: User, page: Page) -> None:
    add(user, "prod-eu", region="nowhere")
    user.presses("Test prod-eu")
    user.presses("Test")
    user.sees("nowhere", "Take eu-west-1")
    assert user.focused.startswith("alert")
    assert CANARY not in user.execute_script(EVERYTHING)


def test_a_dialog_that_is_closed_waits_for_nothing(user: User, page: Page) -> None:
    add(user, "prod-eu")
    user.sees("Added prod-eu")
    user.presses("Test prod-eu")
    user.presses("Test")
    user.types(Keys.ESCAPE)  # its plugin is still starting
    user.presses("Remove prod-eu")
    user.fills("Type its name to remove it", "prod-eu")
    user.types(Keys.ENTER)
    user.sees("Removed prod-eu", "No connection yet")
    assert "took the connection" not in user.execute_script("return document.body.textContent")


def test_connections_that_are_mounted_can_only_be_looked_at_and_tested(user: User, start, tmp_path) -> None:
    install_plugin(tmp_path)
    document = {"prefix": "DEMO", "settings": {"region": "<b>\u202eus</b>"}, "secrets": {"password": CANARY}}
    write(tmp_path / "mounted" / "prod-us.json", json.dumps(document))
    path = ("--plugin-path", str(tmp_path / "plugins"))
    user.opens(start(Page, tmp_path, "--connections-directory", str(tmp_path / "mounted"), *path).address)
    user.clicks("link", "Connections")
    user.sees("prod-us", "<b>U+202Eus</b>", "They cannot be changed here", "read only")
    assert not user.all("button", "Add connection")
    assert not user.all("button", "Remove prod-us")
    assert CANARY not in user.execute_script(EVERYTHING)
    user.presses("Test prod-us")
    user.presses("Test")
    user.sees("took the connection prod-us")
