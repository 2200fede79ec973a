"""
Writes the tables of settings in the charts' READMEs: `python -m tools.chart_readme [--check]`.

The webhook's chart says its values in values.yaml, each under a comment `# -- …`. The library has no values of its own:
its defaults and their comments are in the template `injector.defaults`. What stands around the tables is in README.md
itself, outside the two marks; with `--check` nothing is written, and a table that is not current is an error.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHARTS = ROOT / "charts"
BEGIN = "<!-- values: written by tools/chart_readme.py -->"
END = "<!-- /values -->"
_COMMENT = re.compile(r"\s*(?:#|\{\{- /\*) -- (.*?)(?: \*/ -\}\})?")
_KEY = re.compile(r"( *)([A-Za-z][A-Za-z0-9]*):(.*)")


class Value(NamedTuple):
    """`path` with dots, `default` as YAML would have it on one line, `meaning` the comment."""

    path: str
    default: str
    meaning: str


def values(text: str) -> list[Value]:
    """
    The documented values of *text*, a values.yaml whose comments `# --` stand above their keys.

    Raises ValueError for a key without a comment, and for a comment without a key.
    """
    document = yaml.safe_load(text)
    found: list[Value] = []
    comment: str | None = None
    above: list[str] = []
    inside: int | None = None  # below a key with a comment, everything belongs to it
    for line in text.splitlines():
        if match := _COMMENT.fullmatch(line):
            if comment is not None:
                raise ValueError(f"nothing follows the comment: {comment}")
            comment = match[1]
            continue
        key = _KEY.fullmatch(line)
        if key is None or (inside is not None and len(key[1]) // 2 > inside):
            continue
        depth, inside = len(key[1]) // 2, None
        above = [*above[:depth], key[2]]
        default = _at(document, above)
        if comment is not None:
            found.append(Value(".".join(above), json.dumps(default, ensure_ascii=False), comment))
            comment, inside = None, depth
        elif not isinstance(default, dict) or not default:
            raise ValueError(f"{'.'.join(above)} has no comment")
    return found


def _at(document: object, path: list[str]) -> object:
    for name in path:
        document = document[name]  # type: ignore[index]  # the keys were read from the same text
    return document


def table(entries: list[Value]) -> str:
    """The Markdown table of *entries*."""
    rows = ["| value | default | |", "| --- | --- | --- |"]
    cells = ((f"`{entry.path}`", f"`{entry.default}`", entry.meaning) for entry in entries)
    rows += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return "\n".join(rows)


def library_values() -> list[Value]:
    """The settings of the library chart, read from its template."""
    source = (CHARTS / "injector-library" / "templates" / "_settings.tpl").read_text(encoding="utf-8")
    _, _, rest = source.partition('{{- define "injector.defaults" -}}\n')
    body = rest.partition("{{- end -}}")[0]
    return values(re.sub(r"^( *)\{\{- /\* (-- .*?) \*/\}\}$", r"\1# \2", body, flags=re.MULTILINE))


def current(chart: str) -> str:
    """README.md of *chart* with the table that it should have."""
    readme = (CHARTS / chart / "README.md").read_text(encoding="utf-8")
    source = CHARTS / chart / "values.yaml"
    entries = values(source.read_text(encoding="utf-8")) if source.exists() else library_values()
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n{table(entries)}\n{END}{rest.partition(END)[2]}"


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 current or written, 1 not current with --check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args(arguments).check
    stale = [name for name in ("injector", "injector-library") if _update(name, check=check)]
    for name in stale if check else ():
        sys.stderr.write(f"charts/{name}/README.md is not current: run make charts\n")
    return 1 if check and stale else 0


def _update(chart: str, *, check: bool) -> bool:
    path = CHARTS / chart / "README.md"
    wanted = current(chart)
    if path.read_text(encoding="utf-8") == wanted:
        return False
    if not check:
        path.write_text(wanted, encoding="utf-8")
    return True


if __name__ == "__main__":
    sys.exit(main())
