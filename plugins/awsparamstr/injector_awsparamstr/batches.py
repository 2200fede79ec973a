"""Which parameters go into one GetParameters, and whose each of its answers is. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MOST_NAMES = 10
"""The most names of one GetParameters; SSM refuses more."""


def base_of(name: str) -> str:
    """
    What *name* has in common with every other way to name the same parameter.

    Without `:version` or `:label`, and of an ARN only the parameter's name. SSM refuses two of one parameter in a call,
    and names what it answers in a form of its own choice. A slash at the beginning is dropped, since an ARN does not
    tell `/db` from `db`: names that share a base are told apart by going into different calls.
    """
    plain = name.partition(":parameter/")[2] if name.startswith("arn:") else name
    return plain.partition(":")[0].lstrip("/")


def split(names: Iterable[str]) -> list[list[str]]:
    """*names* in the fewest lists of at most MOST_NAMES without two of one base, in order as far as that allows."""
    batches: list[list[str]] = []
    taken: list[set[str]] = []
    for name in dict.fromkeys(names):
        base = base_of(name)
        for batch, bases in zip(batches, taken, strict=True):
            if len(batch) < MOST_NAMES and base not in bases:
                break
        else:
            batches.append(batch := [])
            taken.append(bases := set())
        batch.append(name)
        bases.add(base)
    return batches


def assign(names: Iterable[str], answer: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    """
    Each of *names* (one list of `split`) with its parameter in the *answer* of GetParameters, None for one that SSM
    calls invalid: there is no such parameter, version or label.

    A name about which the answer says neither does not come.
    """
    asked = {base_of(name): name for name in names}
    for parameter in answer.get("Parameters", ()):
        base = base_of(str(parameter.get("Name", "")))
        if base not in asked:
            base = base_of(str(parameter.get("ARN", "")))
        if base in asked and _is_version_asked(asked[base], parameter):
            yield asked.pop(base), parameter
    for name in answer.get("InvalidParameters", ()):
        base = base_of(str(name))
        if base in asked:
            yield asked.pop(base), None


def _is_version_asked(name: str, parameter: Mapping[str, Any]) -> bool:
    # One answer for another version would be a wrong secret: what SSM says of it has to fit.
    plain = name.partition(":parameter/")[2] if name.startswith("arn:") else name
    selector = plain.partition(":")[2]
    if not selector:
        return True
    if selector.isdigit():
        return str(parameter.get("Version", selector)) == selector
    return str(parameter.get("Selector") or f":{selector}").lstrip(":") == selector
