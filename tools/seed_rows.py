"""
Writes docs/seeds.md: `python -m tools.seed_rows [--check]`, from the repository's root.

Every sentence of the two documents that this project began with is a claim, called by document and line ("000:5"). The
tests that prove one carry `@pytest.mark.seed("000:5", …)`; they are found by reading the tests' source, without
running or importing it. With `--check` nothing is written; it fails when the page is not current, when a claim has
neither a test nor a reason, or when a marker names a claim that is not there. `--against DIR` looks whether the
quotations stand where they are said to, in copies of the documents (DIR/000*.txt, DIR/002*.txt).
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tools.seed_claims import CLAIMS, Claim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "seeds.md"
TESTS = ROOT / "tests"
INTRODUCTION = """\
# The two documents, sentence by sentence

This project began with two documents: how WASM plugins get their credentials ("000"), and the plugin system of
configmanager ("002"). Here is each of their sentences, with its line and the tests that prove it, or with the reason
why it is not so here. Where something is done in another way, both are there. Written by `python -m tools.seed_rows`
from the tests' markers (`@pytest.mark.seed`).
"""

Found = dict[str, list[str]]  # tests, as `path::name`, by claim


def collect(tests: Path = TESTS) -> tuple[Found, list[str]]:
    """The tests of each claim, and what is wrong with markers, in words."""
    found: Found = {}
    problems: list[str] = []
    for path in sorted(tests.rglob("test_*.py")):
        shown = path.relative_to(tests.parent).as_posix()
        for name, claims in _marked(ast.parse(path.read_text(encoding="utf-8"))):
            for claim in claims:
                if claim not in CLAIMS:
                    problems.append(f"{shown}::{name} is said to prove {claim!r}, which is no claim")
                else:
                    found.setdefault(claim, []).append(f"{shown}::{name}")
    return found, problems


def _marked(module: ast.Module) -> Iterator[tuple[str, list[object]]]:
    for node in ast.walk(module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.seed":
                    yield node.name, [ast.literal_eval(argument) for argument in decorator.args]


def page(found: Mapping[str, list[str]], claims: Mapping[str, Claim] = CLAIMS) -> str:
    """The whole page."""
    lines = [INTRODUCTION]
    document = ""
    for key, claim in claims.items():
        if not key.startswith(document) or not document:
            document = key.partition(":")[0]
            lines += [f"\n## {_TITLES[document]}\n", "| line | it says | here | tests |", "| --- | --- | --- | --- |"]
        tests = ", ".join(_link(test) for test in found.get(key, ()))
        line = re.sub(r"\D+$", "", key.partition(":")[2])
        lines.append(f"| {line} | {claim.says.replace('|', chr(92) + '|')} | {claim.here} | {tests} |")
    return "\n".join(lines) + "\n"


_TITLES = {
    "000": "000: Plugin Credential Persistence Architecture",
    "002": "002: Configmanager Plugin System",
}


def _link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[{name.removeprefix('test_')}](../{path})"


def missing(found: Mapping[str, list[str]], claims: Mapping[str, Claim] = CLAIMS) -> list[str]:
    """What keeps the list from being complete, in words."""
    return [
        f"claim {key} ({claim.says}) has no test and no reason"
        for key, claim in claims.items()
        if key not in found and not claim.is_reason
    ]


def misquoted(folder: Path) -> list[str]:
    """Claims whose words do not stand in their line of the documents in *folder*."""
    texts = {name: next(folder.glob(f"{name}*.txt")).read_text(encoding="utf-8").splitlines() for name in _TITLES}
    problems = []
    for key, claim in CLAIMS.items():
        name, _, number = key.partition(":")
        line = texts[name][int(re.sub(r"\D+$", "", number)) - 1]
        position = 0
        for part in claim.says.split(" … "):
            position = _plain(line).find(_plain(part), position)
            if position < 0:
                problems.append(f"{key}: {part!r} is not in {line!r}")
                break
    return problems


def _plain(text: str) -> str:
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)  # links
    return re.sub(r"[*`\s]+", " ", text).strip()


def main(arguments: list[str]) -> int:
    """Exit code: 0 written, or current and complete; 1 otherwise, with the reasons on standard error."""
    found, problems = collect()
    text = page(found)
    if "--against" in arguments:
        problems += misquoted(Path(arguments[arguments.index("--against") + 1]))
    elif "--check" in arguments:
        problems += missing(found)
        if PAGE.read_text(encoding="utf-8") != text:
            problems.append("docs/seeds.md is not current: python -m tools.seed_rows")
    elif not problems:
        PAGE.write_text(text, encoding="utf-8")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
