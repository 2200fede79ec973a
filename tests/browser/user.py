"""What a user does and sees in the page: by roles and names, as assistive technology gives them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tools.ui_in_browser import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement


class User:
    """Somebody in front of the page, who sees roles and names."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self.driver, name)

    def opens(self, address: str) -> None:
        """Goes to *address*, in a page of its own."""
        self.driver.get("about:blank")
        self.driver.get(address)

    # --------------------------------------------------------------------------------------------------- sees

    def all(self, role: str, name: str | None = None) -> list[WebElement]:
        """What assistive technology is given of this role, with exactly this name."""
        root = self.driver.execute_cdp_cmd("DOM.getDocument", {"depth": 0})["root"]["nodeId"]
        wanted = {"nodeId": root, "role": role} | ({} if name is None else {"accessibleName": name})
        nodes = self.driver.execute_cdp_cmd("Accessibility.queryAXTree", wanted)["nodes"]
        return [self._element(node["backendDOMNodeId"]) for node in nodes if not node["ignored"]]

    def _element(self, node: int) -> WebElement:
        found = self.driver.execute_cdp_cmd("DOM.resolveNode", {"backendNodeId": node})["object"]["objectId"]
        keep = {"objectId": found, "functionDeclaration": "function () { window.foundByTest = this; }"}
        self.driver.execute_cdp_cmd("Runtime.callFunctionOn", keep)
        return self.driver.execute_script("return window.foundByTest")

    def one(self, role: str, name: str | None = None) -> WebElement:
        """The only one; waits for it."""
        found: list[WebElement] = []

        def look() -> bool:
            found[:] = self.all(role, name)
            return len(found) == 1

        eventually(f"one {role} {name!r}", look)
        return found[0]

    def presses(self, name: str) -> None:
        """Clicks the button of this name."""
        self.clicks("button", name)

    def clicks(self, role: str, name: str) -> None:
        """Scrolls there and clicks."""
        element = self.one(role, name)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def fills(self, label: str, text: str, role: str = "textbox") -> None:
        """Types into the field of this label."""
        self.one(role, label).send_keys(text)

    def types(self, *keys: str) -> None:
        """Keys for whatever has the focus."""
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    @property
    def text(self) -> str:
        """All that is visible."""
        return self.driver.execute_script("return document.body.innerText")

    def sees(self, *texts: str) -> None:
        """Waits until all of these are visible."""
        for text in texts:
            eventually_seen(text, lambda wanted=text: wanted in self.text, self)

    def sees_no(self, text: str) -> None:
        """Waits until this is not visible."""
        eventually_seen(f"not {text}", lambda: text not in self.text, self)

    @property
    def focused(self) -> str:
        """Role and name of what has the focus, such as `button Add connection`."""
        nodes = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        for node in nodes:
            properties = {each["name"]: each["value"].get("value") for each in node.get("properties", [])}
            if properties.get("focused") and node["role"]["value"] != "RootWebArea":
                return f"{node['role']['value']} {node['name']['value']}".strip()
        return ""

    def focuses(self, what: str) -> None:
        """Waits until *what* has the focus."""
        eventually_seen(f"focus on {what}", lambda: self.focused == what, self)

    def tabs_to(self, what: str) -> None:
        """Presses Tab until *what* has the focus, as `focused` names it."""
        seen = []
        for _ in range(60):
            self.types(Keys.TAB)
            seen.append(self.focused)
            if seen[-1] == what:
                return
        raise AssertionError(f"{what} is not reached by Tab, but {seen}")

    def settled(self, script: str, *, seconds: float) -> bool:
        """Whether *script* gives the same now and after *seconds*."""
        before = self.driver.execute_script(script)
        time.sleep(seconds)
        return before == self.driver.execute_script(script)

    # ------------------------------------------------------------------------------------------------ faults

    def complaints(self) -> list[str]:
        """
        What the browser's console has had since the last call: errors of scripts, refusals of the CSP. Not that a
        request was answered 4xx or 5xx, or nobody answered: tests ask for these.
        """
        entries = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if "Failed to load resource" not in entry["message"]]


def eventually_seen(what: str, ask: Callable[[], bool], user: User) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ask():
        assert time.monotonic() < deadline, f"{what!r}: not within {PATIENCE:g} s, but\n{user.text}"
        time.sleep(0.05)
