"""
Writes docs/plugin-faults.md: `python -m tools.fault_table [--check]`, from the repository's root.

Every fault of tools/plugin_faults.py is run, so the messages are the real ones. With `--check` nothing is written; it
fails when an exit code or a message is not what it should be. Needs the Go toolchain.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.plugin_faults import FAULTS, Fault, Outcome, run

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "plugin-faults.md"
INTRODUCTION = """\
# What a broken plugin does, and what comes of it

Each row is a real program that was run by `injector render` with one token; the message is what was printed. Every one
of them costs the tokens of its own plugin and nothing else; afterwards no process, socket or file of it was left. The
last column is what HashiCorp's own host (go-plugin v1.8.0) does about it, where that is known.

`<plugin>` stands for the program's path, `<socket>` for that of its socket. Written by `python -m tools.fault_table`;
the exit codes and messages are tested in tests/integration/test_faults.py. Other faults, which need a host that is
killed or that lasts, have tests of their own: see [go-plugin-conformance.md](go-plugin-conformance.md).
"""
LONGEST = 240


def verdict(fault: Fault, outcome: Outcome) -> str | None:
    """What is wrong with *outcome*; None when it is as it should be."""
    if outcome.code != fault.code:
        return f"exit code {outcome.code}, and not {fault.code}: {outcome.stderr[:2000]}"
    if "Traceback" in outcome.stderr:
        return f"a traceback: {outcome.stderr[:2000]}"
    if not re.search(fault.says, outcome.message if fault.code else outcome.stderr):
        return f"/{fault.says}/ is not in: {outcome.message or outcome.stderr[:2000]}"
    if fault.code and not outcome.message.isprintable():
        return f"not printable: {outcome.message!r}"
    if outcome.stdout != (fault.value if fault.code == 0 else ""):
        return f"standard output is {outcome.stdout[:200]!r}"
    if outcome.seconds > fault.within:
        return f"it took {outcome.seconds:.1f} s"
    return f"left behind: {', '.join(outcome.left)}" if outcome.left else None


def row(fault: Fault, outcome: Outcome) -> str:
    """One line of the table."""
    said = (
        f"`{shown(outcome.message)}`"
        if outcome.message
        else "answered" + (", with a warning" if outcome.stderr else "")
    )
    cells = (fault.does, said, str(outcome.code), f"{outcome.seconds:.1f} s", fault.upstream)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def shown(message: str) -> str:
    """A message for a table's cell: cut, and without what would end the code span."""
    return re.sub(r"(\S)\1{40,}", r"\1\1\1…", message).replace("`", "'")[:LONGEST]


def main(arguments: list[str]) -> int:
    go = shutil.which("go")
    if go is None:
        raise SystemExit("needs the Go toolchain")
    problems = []
    lines = [INTRODUCTION]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "faultplugin")
        subprocess.run(
            [go, "build", "-o", program, "."],
            cwd=ROOT / "tests" / "integration" / "go",
            check=True,
            env=os.environ | {"CGO_ENABLED": "0"},
        )
        for heading, faults in FAULTS.items():
            lines += [f"\n## {heading}\n", "| the plugin … | injector says | exit | time | go-plugin's host |",
                      "| --- | --- | --- | --- | --- |"]  # fmt: skip
            for number, fault in enumerate(faults):
                work = Path(folder, heading, str(number))
                work.mkdir(parents=True)
                outcome = run(fault, program, work)
                lines.append(row(fault, outcome))
                print(lines[-1], flush=True)
                if (problem := verdict(fault, outcome)) is not None:
                    problems.append(f"{fault.does}: {problem}")
    for problem in problems:
        print(f"FAILED: {problem}", file=sys.stderr)
    if not problems and "--check" not in arguments:
        PAGE.write_text("\n".join(lines) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
