"""Whether everybody can read and use the page: contrast, widths, names for assistive technology, thousands of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.keys import Keys

from browser.sidecar import Sidecar, install_plugin, write
from browser.user import User
from tools.ui_in_browser import Page, emulate, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.xdist_group("browser")  # one Chromium for all, where xdist keeps groups together
INTERACTIVE = (
    "button",
    "link",
    "textbox",
    "searchbox",
    "combobox",
    "checkbox",
    "radio",
    "DisclosureTriangle",
    "option",
)
SCROLLS = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"

# Contrast by WCAG 2.2 of every text that is visible, against the first opaque ground behind it.
CONTRAST = """
function channels(color) {
  const [red, green, blue, alpha = 1] = color.match(/[\\d.]+/g).map(Number);
  return {red, green, blue, alpha};
}
function luminance({red, green, blue}) {
  const parts = [red, green, blue].map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
}
function ground(node) {
  for (let each = node; each; each = each.parentElement) {
    const color = channels(getComputedStyle(each).backgroundColor);
    if (color.alpha === 1) return color;
    if (color.alpha !== 0) throw new Error('a ground that is half there: ' + each.className);
  }
  return {red: 255, green: 255, blue: 255};
}
const found = [];
const scope = document.querySelector('dialog[open]') ?? document.body;
const walker = document.createTreeWalker(scope, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const parent = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !parent.checkVisibility({visibilityProperty: true})) continue;
  if (parent.closest('option, noscript, .unseen')) continue;
  const style = getComputedStyle(parent);
  const text = channels(parent.closest('svg.chart') ? style.fill : style.color);
  if (text.alpha !== 1) throw new Error('a text that is half there: ' + parent.className);
  const [light, dark] = [luminance(text), luminance(ground(parent))].sort((a, b) => b - a);
  const where = parent.className?.baseVal ?? parent.className;
  found.push([(light + 0.05) / (dark + 0.05), walker.currentNode.data.trim(), where]);
}
return found;
"""


@pytest.fixture(scope="module")
def sidecar(start, short) -> Sidecar:
    """Files of three states, a plugin, a notification that fails."""
    plugin = install_plugin(short)
    write(short / "templates" / "good.conf", f"x=FILE://{write(short / 'value', 'one')}\n")
    write(short / "templates" / f"{'deep/' * 20}{'long' * 20}.conf", "x=DEMO://user\n")
    write(short / "templates" / "broken.conf", "x=DEMO://none\n")
    notify = ("--notify", f"signal:HUP:{short}/no-such-pid-file")
    sidecar = start(Sidecar, short, "--plugin-path", str(short / "plugins"), *notify)
    (plugin / "down").touch()
    return sidecar


@pytest.fixture
def page(user: User, start, sidecar: Sidecar, tmp_path) -> Page:
    """The page with a connection in it, at the view of the sidecar, after a refresh that made one file stale."""
    plugins = ("--plugin-path", str(sidecar.here / "plugins"))
    page = start(Page, tmp_path, "--control", str(sidecar.control), *plugins)
    user.opens(page.address)
    user.sees("good.conf")
    user.presses("Refresh now")
    user.sees("Refreshed in", "Stale", "Failed", "the demo store is down")
    return page


def states_of_the_page(user: User) -> Iterator[str]:
    """Goes through views and dialogs; stops at each."""
    yield "sidecar"
    user.clicks("button", "broken.conf")
    user.clicks("button", "good.conf")
    user.clicks("DisclosureTriangle", "The same as a table")
    yield "open rows"
    user.clicks("link", "Connections")
    user.sees("No connection yet")
    yield "no connections"
    user.presses("Add connection")
    yield "add dialog"
    user.types(Keys.ENTER)
    user.sees("This is no name")
    yield "error"
    user.fills("Name", "a" * 63)
    user.fills("Prefix", "DEMO", role="combobox")
    user.fills("Name of the setting", "endpoint")
    user.fills("Value", "https://example.com/" + "long" * 30)
    user.types(Keys.ENTER)
    user.sees("Added")
    yield "connections"
    user.presses("Test " + "a" * 63)
    user.presses("Test")
    user.sees("took the connection")
    yield "test dialog"
    user.types(Keys.ESCAPE)
    user.presses("Remove " + "a" * 63)
    yield "remove dialog"
    user.types(Keys.ESCAPE)
    user.clicks("link", "About")
    yield "about"
    user.presses("Sign out")
    user.sees("It works once")
    yield "signed out"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_has_contrast(user: User, page: Page, dark: bool) -> None:
    emulate(user.driver, width=1280, height=900, dark=dark)
    ground = user.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, ground[4:-1].split(","))) < 60) is dark
    for where in states_of_the_page(user):
        texts = user.execute_script(CONTRAST)
        assert len(texts) > 5, where
        weak = [f"{where}: {ratio:.2f} {text[:40]!r} ({name})" for ratio, text, name in texts if ratio < 4.5]
        assert weak == []


def test_nothing_is_wider_than_a_phone(user: User, page: Page) -> None:
    emulate(user.driver, width=360, height=740)
    for where in states_of_the_page(user):
        assert user.execute_script(SCROLLS) == 0, where
        wide = user.execute_script(
            "return [...document.querySelectorAll('dialog[open] *, main *')].filter((node) => node.checkVisibility()"
            " && !node.closest('svg, .scroll, .unseen, thead') && node.getBoundingClientRect().right > 361)"
            ".map((node) => node.outerHTML.slice(0, 99))"
        )
        assert wide == [], where


def test_everything_that_can_be_used_has_a_name(user: User, page: Page) -> None:
    for where in states_of_the_page(user):
        nodes = user.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        used = [node for node in nodes if not node["ignored"] and node["role"]["value"] in INTERACTIVE]
        assert len(used) >= 2, where
        assert [node["role"]["value"] for node in used if not node["name"]["value"].strip()] == [], where
        levels = [
            next(each["value"]["value"] for each in node["properties"] if each["name"] == "level")
            for node in nodes
            if not node["ignored"] and node["role"]["value"] == "heading"
        ]
        assert levels, where
        if "dialog" not in where and where != "error":
            assert levels[0] == 1, where
            assert levels.count(1) == 1, where
            assert len([node for node in nodes if node["role"]["value"] == "main" and not node["ignored"]]) == 1


def test_the_theme_can_be_chosen_against_the_system(user: User, page: Page) -> None:
    def is_dark() -> bool:
        ground = user.execute_script("return getComputedStyle(document.body).backgroundColor")
        return max(map(int, ground[4:-1].split(","))) < 60

    assert not is_dark()
    user.fills("Theme", "Dark", role="combobox")
    eventually("dark", is_dark)
    user.refresh()
    user.sees("good.conf")
    assert is_dark()
    user.fills("Theme", "Auto", role="combobox")
    eventually("light", lambda: not is_dark())


def test_nothing_comes_from_another_host(user: User, page: Page) -> None:
    user.clicks("link", "Connections")
    user.sees("No connection yet")
    asked = user.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert asked
    assert [address for address in asked if not address.startswith(f"{page.origin}/")] == []
    assert not user.execute_script("return document.querySelectorAll('[style], style, script:not([src])').length")


def test_the_focus_is_seen(user: User, page: Page) -> None:
    for _ in range(9):
        user.types(Keys.TAB)
        style = "const style = getComputedStyle(document.activeElement); return style.outlineStyle + style.outlineWidth"
        assert user.execute_script(style) == "solid2px", user.focused


@pytest.mark.timeout(600)  # 5,000 files are written first
def test_five_thousand_files_stay_usable(user: User, start, short, tmp_path) -> None:
    here = short / "many"
    (here / "templates").mkdir(parents=True)
    for number in range(5000):
        (here / "templates" / f"tenant-{number:04}.conf").write_text("x=1\n")
    many = start(Sidecar, here, within=400)
    user.opens(start(Page, tmp_path, "--control", str(many.control)).address)
    user.sees("5,000 files", "1\u201325 of 5,000 files", "tenant-0000.conf")
    assert user.execute_script("return document.querySelectorAll('*').length") < 3000
    user.presses("Next")
    user.sees("26\u201350 of 5,000 files", "tenant-0025.conf")
    user.fills("Find files by name", "4999", role="searchbox")
    user.sees("tenant-4999.conf")
    user.sees_no("tenant-0025.conf")
