"""
What two files of one format differ in: which names hold something else, are there in one only, or came to be.

Values are compared and handed on as nodes; how much of them is shown is the caller's business.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from injector.render.structure import DOCUMENTS, LIST, Branch, Leaf, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Step(Struct, frozen=True):
    """
    A part of a path: a `name`, or a place in a list (`index`, from 0). `number` tells members of one name apart
    (from 1; 0 where there is one only). `shown` says whether the name may be printed.
    """

    name: str | None = None
    index: int = -1
    number: int = 0
    shown: bool = True
    of_documents: bool = False


Path: TypeAlias = "tuple[Step, ...]"


class Change(Struct, frozen=True):
    """A value that differs. `before` is None when it was added, `after` when it was removed."""

    path: Path
    before: Node | None
    after: Node | None


def changes(before: Node, after: Node, is_own: Callable[[str], bool]) -> list[Change]:
    """
    The changes from *before* to *after*, in the order of the latter. A subtree that is new or gone is one change.

    *is_own* says whether a name stands in the template itself. Other names may be values: they are not to be shown,
    and neither are names that only *before* has where there is one of those, or no name of the template's.
    """
    return list(_changes(before, after, (), is_own))


def _changes(before: Node, after: Node, path: Path, is_own: Callable[[str], bool]) -> Iterator[Change]:
    if before == after:
        return
    if not isinstance(before, Branch) or not isinstance(after, Branch) or before.kind != after.kind:
        yield Change(path, before, after)
    elif before.kind in {LIST, DOCUMENTS}:
        yield from _in_lists(before, after, path, is_own)
    else:
        yield from _in_objects(before, after, path, is_own)
    if isinstance(before, Branch) and isinstance(after, Branch) and before.kind == after.kind:
        yield from _in_notes(before, after, path)


def _in_notes(before: Branch, after: Branch, path: Path) -> Iterator[Change]:
    if before.note != after.note:
        yield Change(path, Leaf("anchor or tag", before.note), Leaf("anchor or tag", after.note))


def _in_lists(before: Branch, after: Branch, path: Path, is_own: Callable[[str], bool]) -> Iterator[Change]:
    of_documents = after.kind == DOCUMENTS

    def step(index: int) -> Path:
        return (*path, Step(index=index, of_documents=of_documents))

    for tag, start, end, after_start, after_end in opcodes(before.members, after.members):
        if tag == "equal":
            continue
        both = min(end - start, after_end - after_start)
        for offset in range(both):
            yield from _changes(
                before.members[start + offset], after.members[after_start + offset], step(after_start + offset), is_own
            )
        for index in range(start + both, end):
            yield Change(step(index), before.members[index], None)
        for index in range(after_start + both, after_end):
            yield Change(step(index), None, after.members[index])


def _in_objects(before: Branch, after: Branch, path: Path, is_own: Callable[[str], bool]) -> Iterator[Change]:
    own = [name is not None and is_own(name) for name in after.names]
    old_names_shown = bool(own) and all(own)
    old = dict(_keyed(before))
    for (key, member), shown in zip(_keyed(after), own, strict=True):
        step = Step(name=key[0], number=_number(key, after), shown=shown)
        if key in old:
            yield from _changes(old.pop(key), member, (*path, step), is_own)
        else:
            yield Change((*path, step), None, member)
    for key, member in old.items():
        shown = key[0] is not None and (old_names_shown or is_own(key[0]))
        yield Change((*path, Step(name=key[0], number=_number(key, before), shown=shown)), member, None)


def _keyed(branch: Branch) -> Iterator[tuple[tuple[str | None, int], Node]]:
    seen: Counter[str | None] = Counter()
    for name, member in zip(branch.names, branch.members, strict=True):
        seen[name] += 1
        yield (name, seen[name]), member


def _number(key: tuple[str | None, int], branch: Branch) -> int:
    return key[1] if branch.names.count(key[0]) > 1 else 0


_MOST_PAIRS = 4_000_000  # comparing every one with every other takes too long beyond


def opcodes(before: Sequence[object], after: Sequence[object]) -> list[tuple[str, int, int, int, int]]:
    """As difflib's; what is the same at both ends is passed over first, and very long rests are one replacement."""
    import difflib  # late: start-up

    shorter = min(len(before), len(after))
    head = next((index for index in range(shorter) if before[index] != after[index]), shorter)
    tail = next(
        (index for index in range(shorter - head) if before[-1 - index] != after[-1 - index]),
        shorter - head,
    )
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    codes = [("equal", 0, head, 0, head)]
    if len(old) * len(new) > _MOST_PAIRS:
        codes.append(("replace", head, head + len(old), head, head + len(new)))
    else:
        matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
        codes += [(tag, a + head, b + head, c + head, d + head) for tag, a, b, c, d in matcher.get_opcodes()]
    codes.append(("equal", len(before) - tail, len(before), len(after) - tail, len(after)))
    return codes
