"""docs/settings.md has every setting, under its key and its variable."""

from __future__ import annotations

import re
from pathlib import Path

from injector.settings.options import OPTIONS, camel

PAGE = Path(__file__).resolve().parents[3] / "docs" / "settings.md"


def test_the_page_has_every_setting_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (?:`(\w+)` )?\|", PAGE.read_text(), re.MULTILINE))
    known = {option.key: option.variable for option in OPTIONS}
    assert rows == {**known, "plugins.configuration": "", "plugins.autoMtlsFor": ""}
    assert camel("max_value_size") == "maxValueSize"
