"""
What a render would change: finished files against those that lie at their places. Nothing is written.

Values leave this module as keyed hashes only. The key is made anew for each comparison and thrown away, so that a hash
says "the same" or "another one" within one report, and nothing to somebody who tries out likely values.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.errors import OutputError, OutputUnreadable
from injector.model.policy import FileFormat, WriteMode
from injector.output.generations import DATA
from injector.output.staging import is_temporary
from injector.render.difference import Change, changes
from injector.render.formats.layout import Misfit
from injector.render.lines import Hidden, Line, line_changes, literals, value_changes
from injector.render.structure import Branch, structure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from injector.app.rendering import Made, RenderedFile
    from injector.model.template import Template
    from injector.render.difference import Path as NodePath
    from injector.render.structure import Node

_HEX_DIGITS = 8
_BOM = b"\xef\xbb\xbf"
_BARE_NAME = re.compile(r"[\w$-]+\Z")
_FLAT = frozenset(
    {
        FileFormat.PROPERTIES,
        FileFormat.DOTENV,
        FileFormat.DOCKER_ENV,
        FileFormat.SYSTEMD_ENV,
        FileFormat.KUBELET_ENV,
    }
)


class Print(Struct, frozen=True):
    """
    What may be known of a value: a `hash` that is equal for equal ones of one report, and how large it is.

    `size` is in bytes (UTF-8); `entries` is the number of members, for what has any. `kind` is text, plain (a number or
    a name such as true), object, list, element and so on.
    """

    hash: str
    size: int
    kind: str = "text"
    entries: int | None = None


class Entry(Struct, frozen=True):
    """
    One change (`added`, `removed`, `changed`). `where` is a path, a token or a range of bytes, as `unit` says (`path`,
    `token`, `line`, `bytes`). `line` and `column` are a token's in the template; `line` is also that of a changed line,
    in the file that has it, and `text` is that line with hashes for its values.
    """

    change: str
    unit: str
    where: str
    before: Print | None = None
    after: Print | None = None
    text: str | None = None
    line: int = 0
    column: int = 0


class FileDifference(Struct, frozen=True):
    """
    One output. `state` is `same`, `new`, `removed`, `changed`, `formatting` (a reader finds the same) or `mode`.

    `compared` says by what it was compared: the name of a format, `tokens`, `lines` or `bytes`; empty for `same`, `new`
    and `removed`. `mode` are permission bits before and after, when they differ. `template` is empty for `removed`.
    """

    output: str
    state: str
    template: str = ""
    tokens: int = 0
    compared: str = ""
    entries: tuple[Entry, ...] = ()
    mode: tuple[int, int] | None = None


def differences(files: Sequence[RenderedFile], *, output_dir: Path | None, prune: bool) -> tuple[FileDifference, ...]:
    """
    Each of *files* (rendered without being published) against what lies at its target.

    With *prune*, and when the files are written as a set, whatever else lies below *output_dir* is `removed`.
    Raises OutputUnreadable for an output that cannot be read.
    """
    prints = _Prints()
    found = [_difference(file, prints) for file in files]
    as_set = any(file.made is not None and file.made.settings.write is WriteMode.SET for file in files)
    if output_dir is not None and (prune or (as_set and (output_dir / DATA).is_dir())):
        made = {os.path.normpath(file.target) for file in files if file.target is not None}
        found += [
            FileDifference(str(path), "removed")
            for path in _files_below(output_dir)
            if os.path.normpath(path) not in made
        ]
    return tuple(found)


def _files_below(root: Path) -> Iterator[Path]:
    """The files below *root*; of a set those of its current generation, by the names that users see."""
    start = root / DATA if (root / DATA).is_dir() else root
    for folder, folders, names in os.walk(start):
        folders[:] = sorted(name for name in folders if not name.startswith(".."))
        for name in sorted(names):
            if not name.startswith("..") and not is_temporary(name):
                yield root / Path(folder, name).relative_to(start)


def _difference(file: RenderedFile, prints: _Prints) -> FileDifference:
    target, made = file.target, file.made
    assert target is not None  # both are set where files are compared
    assert made is not None
    old = _read(target)
    if old is None:
        return FileDifference(str(target), "new", file.template, file.tokens)
    before, old_mode = old
    after = file.data.reveal()
    in_place = made.settings.write is WriteMode.IN_PLACE
    mode = None if in_place or old_mode == made.settings.mode else (old_mode, made.settings.mode)
    if before == after:
        return FileDifference(str(target), "mode" if mode else "same", file.template, file.tokens, mode=mode)
    compared, entries = _compared(before, after, made, prints)
    state = "changed" if entries else "formatting"
    return FileDifference(str(target), state, file.template, file.tokens, compared, tuple(entries), mode)


def _read(path: Path) -> tuple[bytes, int] | None:
    """The bytes and permission bits of a regular file; None when there is none."""
    try:
        # Not waiting for a writer, should it be a named pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            mode = os.fstat(descriptor).st_mode
            _refuse_others(path, mode)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(), stat.S_IMODE(mode)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            return None
        reason = (error.strerror or "unknown reason").lower()
        raise OutputUnreadable(
            f"cannot compare with {path}: {reason}", hint="check its owner, group and mode"
        ) from None


def _refuse_others(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise OutputError(
            f"cannot compare with {path}: a directory has that name",
            hint="name a file, or pass the directory with --output-dir",
        )
    if not stat.S_ISREG(mode):
        raise OutputUnreadable(f"cannot compare with {path}: it is no regular file", hint="name another output")


# ----------------------------------------------------------------------------------------------------- comparing


def _compared(before: bytes, after: bytes, made: Made, prints: _Prints) -> tuple[str, list[Entry]]:
    found = _by_structure(before, after, made, prints)
    if found is not None:
        return made.form.format.value, found
    if not _is_text(before) or not _is_text(after):
        return "bytes", _by_bytes(before, after, prints)
    if made.form.format is FileFormat.PLAIN:
        found = _by_tokens(before, made, prints)
        if found is not None:
            return "tokens", found
    return "lines", [
        Entry("added" if line.is_new else "removed", "line", "", text=prints.line(line.line), line=line.number)
        for line in line_changes(before, after, made.template)
    ]


def _by_structure(before: bytes, after: bytes, made: Made, prints: _Prints) -> list[Entry] | None:
    """The names that hold something else; None where files have none, or one of the two cannot be read."""
    file_format = made.form.format
    try:
        old = structure(_text(before, file_format), file_format)
        new = structure(_text(after, file_format), file_format)
        if old is None or new is None:
            return None
        found = changes(old, new, _own_names(made.template))
        return [_entry(change, prints, file_format) for change in found]
    except (Misfit, UnicodeDecodeError, RecursionError):
        return None


def _text(data: bytes, file_format: FileFormat) -> str:
    data = data.removeprefix(_BOM)
    try:
        return data.decode()
    except UnicodeDecodeError:
        if file_format is not FileFormat.PROPERTIES:
            raise
        return data.decode("iso-8859-1")


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def _own_names(template: Template) -> Callable[[str], bool]:
    text = b"\0".join(literals(template))
    original = template.source.original

    def is_own(name: str) -> bool:
        data = name.removeprefix("@").removeprefix("?").encode("utf-8", "surrogatepass")
        if name in _GIVEN_NAMES:
            return True
        return data in text and (original is None or data in original)

    return is_own


_GIVEN_NAMES = frozenset({"", "text()", "!DOCTYPE"})  # of the comparison's own, not of any file


def _entry(change: Change, prints: _Prints, file_format: FileFormat) -> Entry:
    if change.before is None or change.after is None:
        kind = "added" if change.before is None else "removed"
    else:
        kind = "changed"
    before = None if change.before is None else prints.of_node(change.before)
    after = None if change.after is None else prints.of_node(change.after)
    return Entry(kind, "path", _path(change.path, prints, file_format), before, after)


def _by_tokens(before: bytes, made: Made, prints: _Prints) -> list[Entry] | None:
    template = made.template
    found = value_changes(before, template, [value.reveal() for value in made.values])
    if found is None:
        return None
    tokens = list(template.tokens())
    entries = []
    for change in found:
        token = tokens[change.token]
        place = template.source.place(token.start, token.end)
        before_after = prints.of(change.before), prints.of(change.after)
        text = template.text_of(token)
        entries.append(Entry("changed", "token", text, *before_after, line=place.line, column=place.column))
    return entries


def _by_bytes(before: bytes, after: bytes, prints: _Prints) -> list[Entry]:
    """One range: from the first byte that differs to the last."""
    shorter = min(len(before), len(after))
    start = next((index for index in range(shorter) if before[index] != after[index]), shorter)
    rest = shorter - start
    end = next((index for index in range(rest) if before[-1 - index] != after[-1 - index]), rest)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    kind = "added" if not old else "removed" if not new else "changed"
    where = f"{start}-{start + max(len(old), len(new), 1) - 1}"
    return [Entry(kind, "bytes", where, prints.of(old) if old else None, prints.of(new) if new else None)]


# ------------------------------------------------------------------------------------------------------- showing


def _path(path: NodePath, prints: _Prints, file_format: FileFormat) -> str:
    return (
        _xpath(path, prints) if file_format is FileFormat.XML else _dotted(path, prints, is_flat=file_format in _FLAT)
    )


def _xpath(path: NodePath, prints: _Prints) -> str:
    parts = []
    for step in path:
        name = _printable(step.name or "") if step.shown else f"<{prints.of_name(step.name)}>"
        parts.append(f"/{name}[{step.number}]" if step.number else f"/{name}")
    return "".join(parts)


def _dotted(path: NodePath, prints: _Prints, *, is_flat: bool) -> str:
    text = ""
    for step in path:
        if step.index >= 0:
            text += f"document[{step.index}]" if step.of_documents else f"[{step.index}]"
            continue
        if not step.shown or step.name is None:
            name = f"<{prints.of_name(step.name)}>"
        elif is_flat or _BARE_NAME.match(step.name):
            name = _printable(step.name)
        else:
            name = _printable(json.dumps(step.name, ensure_ascii=False))
        text += ("." if text else "") + name + (f"#{step.number}" if step.number else "")
    return text or "the whole file"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


class _Prints:
    """Makes the prints of one report."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def of(self, data: bytes, kind: str = "text") -> Print:
        return Print(self._hash(data), len(data), kind)

    def of_node(self, node: Node) -> Print:
        if isinstance(node, Branch):
            data = repr(node).encode("utf-8", "surrogatepass")
            return Print(self._hash(data), len(data), node.kind, len(node.members))
        return self.of(node.text.encode("utf-8", "surrogatepass"), node.kind)

    def of_name(self, name: str | None) -> str:
        return self._hash((name or "").encode("utf-8", "surrogatepass"))

    def line(self, line: Line) -> str:
        return "".join(
            f"<{self._hash(part.data)} ({len(part.data)} bytes)>"
            if isinstance(part, Hidden)
            else _printable(part.decode("utf-8", "replace").replace("\t", " ").removesuffix("\r"))
            for part in line
        )

    def _hash(self, data: bytes) -> str:
        return "sha256:" + hmac.new(self._key, data, hashlib.sha256).hexdigest()[:_HEX_DIGITS]
