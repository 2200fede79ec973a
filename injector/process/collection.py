"""
When Python's collector of cycles runs: hardly while a process starts, and over little once it is up.

A start makes objects that stay, by the hundred thousand: modules, classes, functions. The collector's usual thresholds
make it look through them again and again for nothing (decision 0146).
"""

from __future__ import annotations

import gc

_USUAL = gc.get_threshold()
_RARE = 100_000  # containers made and not freed, between two looks at the young ones


def rarely() -> None:
    """For the start of a process, and all of the life of one that does its work and ends."""
    gc.set_threshold(_RARE, *_USUAL[1:])


def settle() -> None:
    """
    For a process that goes on: what there is now is taken as there to stay, and never looked through again.

    Does nothing where `rarely` was not called: that process is somebody else's.
    """
    if gc.get_threshold()[0] != _RARE:
        return
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_USUAL)
