"""
Kills a real init at every system call of leaving a hand-over, and takes what is there then. Run as a program.

    python handover_sweep.py DIRECTORY          one JSON line for each place of death

A hand-over of an init before is there each time. Places and stops are those of syscall_sweep.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from syscall_sweep import CALLS, _quickly, _start, _Stops, why_not

from injector.app import handover
from injector.errors import InjectorError
from injector.model.references import Reference, Value
from injector.model.secret import Secret

SCOPE = b"s" * 32
OLD = {Reference("DEMO", "/old"): Value(Secret(b"old"))}
NEW = {Reference("DEMO", f"/{number}"): Value(Secret(bytes([number]) * 5000)) for number in range(20)}


def init(directory: Path) -> None:
    handover.clear(directory)
    handover.leave(directory, SCOPE, NEW, began=time.monotonic())


def found(directory: Path) -> str:
    try:
        taken = handover.take(directory, SCOPE)
    except InjectorError as error:
        return f"refused: {error.message}"
    if taken is None:
        return "nothing"
    values = {reference: one.value for reference, one in taken.items()}
    return "new" if values == NEW else "old" if values == OLD else "torn"


def main(base: Path) -> None:
    number = 0
    while True:
        number += 1
        directory = base / str(number)
        directory.mkdir()
        _quickly(lambda directory=directory: handover.leave(directory, SCOPE, OLD, began=time.monotonic()))
        stops = _Stops(_start(lambda directory=directory: init(directory), base / "answer"))
        place = None
        for count, (_, call) in enumerate(stops, 1):
            if count == number:
                stops.kill()
                place = CALLS.get(call, str(call))
                break
        else:
            stops.finish()
        state = _quickly(found, directory)
        left = sorted(path.name for path in directory.iterdir() if not path.name.startswith(".injector-"))
        print(json.dumps({"call": place, "state": state, "left": left}))
        if place is None:
            return


if __name__ == "__main__":
    if refused := why_not():
        print(json.dumps({"skip": refused}))
    else:
        main(Path(sys.argv[1]))
