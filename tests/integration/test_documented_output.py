"""Each field that `--format json` prints stands in docs/output-format.md, in the section of its command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

INJECTOR = Path(sys.executable).with_name("injector")
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "output-format.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
ERRORS = SECTIONS["Errors and warnings"]

VALUES = '"AWSPARAMSTR:///shop/db": {user: shop}\n"AWSPARAMSTR:///k": "1"\n'


def fields(answer: object) -> set[str]:
    """The names of all members, however deep."""
    if isinstance(answer, dict):
        return set(answer).union(*map(fields, answer.values()))
    return set().union(*map(fields, answer)) if isinstance(answer, list) else set()


@pytest.fixture
def printed(tmp_path: Path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "app.yml").write_text(
        "a: AWSPARAMSTR:///shop/db|user\nb: AWSPARAMSTR:///k[version=3]\nc: ENV://HOME\n"
    )
    (tmp_path / "t" / "app.conf").write_text("a AWSPARAMSTR:///k\nl\n")
    (tmp_path / "t" / "token.conf").write_text("a AWSPARAMSTR:///k\n")
    (tmp_path / "t" / "app.bin").write_bytes(b"\xff AWSPARAMSTR:///k \xfe")
    (tmp_path / "bad.conf").write_text("AWSPARAMSTR:///a[]\n")
    (tmp_path / "near.conf").write_text("AWSPARAMSTORE:///a VAULT:///m___p\n")
    (tmp_path / "values.yaml").write_text(VALUES)
    (tmp_path / "o").mkdir()
    for name, data in {
        "app.yml": b"a: x\nb: {x: 1}\n",
        "app.conf": b"z\n",
        "token.conf": b"a 22\n",
        "app.bin": b"\xff",
        "gone": b"",
    }.items():
        (tmp_path / "o" / name).write_bytes(data)

    def run(*arguments: str) -> set[str]:
        done = subprocess.run(
            [INJECTOR, *arguments, "--format", "json"],
            check=False,
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "HOME": "/home/ada"},
            cwd=tmp_path,
            timeout=100,
        )
        return fields(json.loads(done.stdout))

    return run


@pytest.mark.parametrize(
    ("command", "arguments", "at_least"),
    [
        ("check", ("bad.conf", "near.conf", "t"), {"errors", "warnings", "hint", "exitCode", "column"}),
        ("explain", ("t",), {"keys", "metadata", "permission", "actions"}),
        ("explain", ("near.conf",), {"error"}),
        ("plan", ("t",), {"quotaShare", "callsPerMonth"}),
        ("iam-policy", ("t",), {"policy"}),
        (
            "diff",
            ("t", "--output-dir", "o", "--values", "values.yaml", "--prune"),
            {"path", "token", "text", "bytes", "mode"},
        ),
    ],
)
def test_every_field_is_documented(printed, command: str, arguments: tuple[str, ...], at_least: set[str]) -> None:
    found = printed(command, *arguments)
    assert at_least <= found
    section = SECTIONS[f"`injector {command}`"]
    if command in {"check", "diff"}:
        section += ERRORS
    known = set(re.findall(r"[A-Za-z]+", " ".join(re.findall(r"`([^`]*)`", section))))
    policy = {"Version", "Statement", "Effect", "Action", "Resource", "Sid"} if command == "iam-policy" else set()
    assert found - policy <= known
