"""
Writes docs/faults.md: `python -m tools.fault_rows [--check]`, from the repository's root.

Every fault that injector is held to has a number, and the tests that hold it carry `@pytest.mark.fault(number, "what
users get")`. They are collected, not run. With `--check` nothing is written; it fails when the page is not current, or
when a fault has neither a test nor a reason in NOT_COVERED.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tools.written_page import write_or_check

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "faults.md"

ROWS: dict[str, dict[int, str]] = {
    "Plugins": {
        1: "a plugin dies in the middle of a call",
        2: "a plugin does not answer a call",
        3: "a plugin starts and never prints its handshake",
        4: "many plugins, each slow to start",
        5: "the handshake is garbage, or there is garbage before it: no line end, very long, NUL, CRLF",
        6: "a plugin floods standard output and standard error",
        7: "a handshake of another version, protocol, network or place",
        8: "a plugin that is run by hand, without the cookie",
        9: "an answer larger than a gRPC message may be",
        10: "a value of many megabytes",
        11: "a value with NUL, CR, bytes that are no UTF-8, a BOM, or the text of a token",
        12: "JSON nested without end, under a key lookup",
        13: "JSON numbers that a float or an int would spoil, and names that are there twice",
        14: "JSON with very many keys, and a key path that matches many places",
        15: "a key path made to take long",
        16: "a plugin's file is replaced while it runs",
        17: "a plugin file that is not what it should be: checksum, pin, mode, owner, link, architecture, directory",
        18: "a plugin's file is swapped between the check and the start",
        19: "a plugin leaves a child process behind",
        20: "the host is killed",
        21: "a plugin crashes again and again",
        22: "the socket's directory: path too long, not writable, a stale socket, another user",
        23: "what a plugin finds: environment, descriptors, directory, umask",
        24: "a proxy in the environment",
        25: "a WASM module that does not end, takes memory, traps, or answers nonsense",
    },
    "Files and kernel": {
        26: "the disk is full in the middle of a write",
        27: "an I/O error on write, fsync, rename or fsync of the directory",
        28: "an output directory that is read-only or missing; quota, descriptors or memory at their end",
        29: "SIGTERM in the middle of a render or a write",
        30: "SIGKILL at any system call",
        31: "killed between the steps of switching a set of files",
        32: "two writers of one output",
        33: "the output, or a directory above it, is or becomes a symbolic link",
        34: "among the templates: links to outside or in circles, pipes, devices, sockets, files that may not be read",
        35: "an output path with .., an absolute one, NUL, a reserved or a too long name",
        36: "any umask, a setgid directory, other users",
        37: "the output is there with another mode or owner",
        38: "the output is there and is the same",
        39: "a rename that cannot be: another file system, a file that is a mount",
        40: "no sealed memory files, or a noexec directory",
        41: "temporary files that an earlier run left",
    },
    "Watching": {
        42: "a ConfigMap is swapped during a render",
        43: "a template is deleted, renamed, emptied, or read while it is written",
        44: "events get lost, the queue overflows, no watch is to be had",
        45: "the watched file or its directory is replaced",
        46: "ten thousand templates, a template of 10 MB, 100,000 tokens",
        47: "a file that changes a thousand times a second",
        48: "the clock jumps, the machine sleeps",
        49: "the year 2038, a leap second, a wrong time zone",
    },
    "Scanner and rendering": {
        50: "templates made to take long: near-tokens, tokens without end, megabytes of prefix letters",
        51: "a value that contains a token",
        52: "values that are missing, empty or blank",
        53: "the same token ten thousand times, in a hundred files",
        54: "one token of a hundred fails",
        55: "templates with BOM, UTF-16, Latin-1, CRLF, without a final line feed, or binary",
    },
    "Backends": {
        56: "a backend throttles, with or without a hint how long",
        57: "a hundred processes at once against 40 calls a second",
        58: "a backend is down at the start",
        59: "a backend that comes and goes",
        60: "credentials that expire, are rotated or revoked",
        61: "a slow or half-closed connection, TLS that does not check out, a portal's HTML in place of an answer",
        62: "a redirect to another host",
        63: "a value changes between two tokens of one file",
        64: "a value is deleted",
        65: "names that do not resolve",
    },
    "Secrecy": {
        66: "secrets in logs, errors, exceptions, metrics",
        67: "secrets in arguments or environments of processes",
        68: "core dumps, and debuggers of the same user",
        69: "secrets on status pages and in differences",
        70: "the health port, and clients that hold it open",
    },
    "Process": {
        71: "PID 1: zombies, signals, exit codes",
        72: "descriptors, threads, zombies and memory over very many renders and restarts",
        73: "memory at its limit",
        74: "a fork while gRPC has threads",
        75: "standard output closed or full, a reader that goes away",
    },
    "Webhook and cluster": {
        76: "requests that are no admission review: method, type, size, encoding, shape",
        77: "pods that have the sidecar already, or cannot have it",
        78: "annotations with quotes, line breaks, $(NAME), or without end",
        79: "a namespace that enforces the restricted Pod Security Standard",
        80: "certificates that expire, are rotated, or do not fit their keys",
        81: "the webhook is down",
        82: "the API server is down, slow, or forgets",
        83: "several replicas of the webhook",
    },
}

NOT_COVERED: dict[int, str] = {}
"""Faults without a test, and why."""

INTRODUCTION = """\
# Faults, and what comes of them

Every fault has at least one test that makes it happen, with real processes, files and servers, or a reason why not.
Written by `python -m tools.fault_rows` from the tests' markers. What is printed for each broken plugin program is in
[plugin-faults.md](plugin-faults.md).
"""


class Covered(NamedTuple):
    """What the tests say of one fault, in the order in which they are collected."""

    outcomes: list[str]
    tests: list[str]  # path and name, without parameters


class _Collector:
    def __init__(self) -> None:
        self.covered: dict[int, Covered] = {}
        self.problems: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            for marker in item.iter_markers("fault"):
                self._add(item.nodeid.partition("[")[0], marker)

    def _add(self, test: str, marker: pytest.Mark) -> None:
        row, outcome = marker.args if len(marker.args) == 2 else (None, None)
        if row not in _texts() or not isinstance(outcome, str) or not outcome:
            self.problems.append(f'{test}: a marker is fault(ROW, "what users get"), and this one is {marker.args}')
            return
        covered = self.covered.setdefault(row, Covered([], []))
        for seen, new in ((covered.outcomes, outcome.rstrip(".")), (covered.tests, test)):
            if new not in seen:
                seen.append(new)


def collect(*arguments: str) -> tuple[dict[int, Covered], list[str]]:
    """What the tests' markers say, and what is wrong with them. *arguments* are pytest's: where to look."""
    collector = _Collector()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *arguments], plugins=[collector])
    if code != pytest.ExitCode.OK:
        collector.problems.append(f"the tests cannot be collected: {printed.getvalue()[-2000:]}")
    return collector.covered, collector.problems


def page(covered: dict[int, Covered], not_covered: dict[int, str]) -> str:
    """The whole page."""
    lines = [INTRODUCTION]
    for title, rows in ROWS.items():
        lines += [f"\n## {title}\n", "| | fault | what users get | tests |", "| --- | --- | --- | --- |"]
        lines += [_row(number, text, covered, not_covered) for number, text in rows.items()]
    return "\n".join(lines) + "\n"


def _row(number: int, text: str, covered: dict[int, Covered], not_covered: dict[int, str]) -> str:
    found = covered.get(number)
    if found is None:
        return f"| {number} | {text} | not covered: {not_covered.get(number, 'no test yet')} | |"
    outcomes = "; ".join(outcome.replace("|", "\\|") for outcome in found.outcomes)
    return f"| {number} | {text} | {outcomes} | {', '.join(map(_link, sorted(found.tests)))} |"


def _link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[{name.rpartition('::')[2].removeprefix('test_')}](../{path})"


def is_of_this_form(text: str) -> bool:
    """Whether *text* is a page with these faults, whatever it says of each: branches that add tests can be merged."""
    rows = [line.split(" | ")[:2] for line in text.splitlines() if line.startswith("| ") and line[2].isdigit()]
    wanted = [[f"| {number}", fault] for number, fault in _texts().items()]
    return text.startswith(INTRODUCTION) and rows == wanted


def missing(covered: dict[int, Covered], not_covered: dict[int, str]) -> list[str]:
    """What keeps the table from being complete, in words."""
    texts = _texts()
    lines = [
        f"fault {number} ({text}) has no test and no reason in NOT_COVERED"
        for number, text in texts.items()
        if number not in covered and number not in not_covered
    ]
    return lines + [f"fault {number} has a test and a reason why not" for number in not_covered if number in covered]


def _texts() -> dict[int, str]:
    return {number: text for rows in ROWS.values() for number, text in rows.items()}


def main(arguments: list[str]) -> int:
    """Exit code: 0 written, or current and complete; 1 otherwise, with the reasons on standard error."""
    covered, problems = collect()
    text = page(covered, NOT_COVERED)
    check = "--check" in arguments
    if check:
        problems += missing(covered, NOT_COVERED)
    return write_or_check(PAGE, text, problems, program="tools.fault_rows", check=check)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
