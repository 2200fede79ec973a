"""The files of the page: all of them are in the wheel, and nothing in them needs another host or breaks the policy."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from injector.web.page_files import DIRECTORY, read_page

FILES = sorted(path.name for path in DIRECTORY.iterdir())


def test_the_wheel_has_every_file_of_the_page(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=DIRECTORY.parents[2], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert sorted(name.rpartition("/")[2] for name in names if name.startswith("injector/web/page/")) == FILES


def test_every_module_that_is_imported_is_served() -> None:
    served = read_page()
    assert {"/", "/injector.js", "/injector.css", "/icon.svg"} <= served.keys()
    for path, file in served.items():
        for name in re.findall(r'from "\.(/[a-z]+\.js)"|(?:src|href)="(/[a-z.]+)"', file.content.decode()):
            assert "".join(name) in served, path


@pytest.mark.parametrize("name", FILES)
def test_a_file_holds_nothing_that_the_policy_forbids_and_names_no_host(name: str) -> None:
    text = (DIRECTORY / name).read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"'`)<]*", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\bstyle=|<style|\son[a-z]+=\"|innerHTML|insertAdjacentHTML|\beval\(|data:", text)
