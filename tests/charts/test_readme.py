"""The charts' READMEs: their tables are those of the values."""

from __future__ import annotations

import base64
from xml.etree import ElementTree as ET

import pytest
import yaml

from tools import chart_readme


@pytest.mark.parametrize("chart", ["injector", "injector-library"])
def test_the_table_of_values_is_current(chart: str) -> None:
    readme = (chart_readme.CHARTS / chart / "README.md").read_text()
    assert readme == chart_readme.current(chart), "make charts"


def test_a_value_without_a_comment_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"a\.c has no comment"):
        chart_readme.values("a:\n  # -- known\n  b: 1\n  c: 2\n")


def test_what_stands_below_a_documented_value_belongs_to_it() -> None:
    text = "# -- all of it\na:\n  b: 1\n  c:\n    d: 2\n# -- a list\ne: []\n"
    assert [(value.path, value.meaning) for value in chart_readme.values(text)] == [("a", "all of it"), ("e", "a list")]


@pytest.mark.parametrize("chart", ["injector", "injector-library"])
def test_the_icon_is_in_the_chart_and_needs_no_host(chart: str) -> None:
    icon = yaml.safe_load((chart_readme.CHARTS / chart / "Chart.yaml").read_text())["icon"]
    head, _, content = icon.partition(",")
    assert head == "data:image/svg+xml;base64"
    drawn = chart_readme.CHARTS.parent / "docs" / "icon.svg"
    assert base64.b64decode(content, validate=True) == drawn.read_bytes()
    assert ET.parse(drawn).getroot().tag == "{http://www.w3.org/2000/svg}svg"
