"""
A host as a process of its own, to be killed: `python -m injector.sdk.testing.holding COMMAND...`.

Starts the plugin, prints its process number on a line, and keeps it until standard input ends.
"""

from __future__ import annotations

import sys

from injector.sdk.testing.host import FakeHost


def main(command: list[str]) -> None:
    """Holds the plugin that *command* starts."""
    with FakeHost(command) as host:
        sys.stdout.write(f"{host.pid}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
