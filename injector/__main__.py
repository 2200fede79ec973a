"""`python -m injector`: the command `injector`, by the interpreter that has it installed."""

from __future__ import annotations

from injector.cli.start import entry

if __name__ == "__main__":
    entry()
