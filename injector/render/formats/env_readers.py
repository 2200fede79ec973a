"""
What the programs that read environment files find in them, by their own rules; each reads a whole file, or one value.

A `$` that a reader would replace has NUL before it in what is returned here; no variable can hold that character.
"""

from __future__ import annotations

import io
import re

Entries = list[tuple[str, str]]

_CRLF = re.compile(r"\r\n?")
_DOTENV_VARIABLE = re.compile(r"\$(?=\{[^}:]*(?::-[^}]*)?\})")
_SHELL_VARIABLE = re.compile(r"\$(?=[A-Za-z_{(0-9@*#?!$-])|`")
_SHELL_PART = re.compile(r"'([^']*)'|\"((?:[^\"\\]++|\\.)*+)\"|\\(.)|([^\s'\"\\;&|<>()~]+)", re.DOTALL)
_SHELL_ESCAPE = re.compile(r"\\(?:\n|([\\\"$`]))|(\$(?=[A-Za-z_{(0-9@*#?!$-])|`)")
_SYSTEMD_BLANK = re.compile(r"[ \t\r\n]*")
_SYSTEMD_COMMENT = re.compile(r"[#;](?:[^\\\r\n]++|\\.)*+", re.DOTALL)
_SYSTEMD_KEY = re.compile(r"[^=\r\n]*")
_SYSTEMD_SINGLE = re.compile(r"[ \t]*'([^']*)(?:'|\Z)")
_SYSTEMD_DOUBLE = re.compile(r"[ \t]*\"((?:[^\"\\]++|\\.)*+)(?:\"|\\?\Z)", re.DOTALL)
_SYSTEMD_BARE = re.compile(r"[ \t]*((?:[^\\\r\n]++|\\.)*+)(?:\\?\Z)?", re.DOTALL)
_SYSTEMD_ESCAPE = re.compile(r"\\(?:\n|([\\\"$`]))")
_SYSTEMD_BARE_ESCAPE = re.compile(r"\\(?:[\r\n]|(.))", re.DOTALL)
_TRAILING_BLANKS = re.compile(r"(?<!\\)[ \t]+\Z")
_KUBELET_LINE = re.compile(
    r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)|([A-Za-z_][A-Za-z0-9_]*)='([^']*)'[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)"
)


def python_dotenv(text: str) -> Entries | None:
    """As python-dotenv (and those that follow it) reads a file: line breaks are one kind, `${…}` is replaced."""
    from dotenv.parser import parse_stream  # late: start-up

    entries: Entries = []
    for binding in parse_stream(io.StringIO(_CRLF.sub("\n", text))):
        if binding.error:
            return None
        if binding.key is not None:
            value = "\1" if binding.value is None else binding.value
            entries.append((binding.key, _DOTENV_VARIABLE.sub("\0$", value)))
    return entries


def systemd(text: str) -> Entries | None:
    """As systemd reads an EnvironmentFile; it finds something in any text."""
    entries: Entries = []
    position = 0
    while True:
        blank = _SYSTEMD_BLANK.match(text, position)
        position = blank.end() if blank else position
        if position >= len(text):
            return entries
        comment = _SYSTEMD_COMMENT.match(text, position)
        if comment:
            position = comment.end()
            continue
        key = _SYSTEMD_KEY.match(text, position)
        assert key is not None  # it matches nothing, at the least
        position = key.end()
        if text[position : position + 1] == "=":
            value, position = _systemd_value(text, position + 1)
            entries.append((key[0].rstrip(" \t"), value))


def _systemd_value(text: str, position: int) -> tuple[str, int]:
    parts: list[str] = []
    while True:
        if match := _SYSTEMD_SINGLE.match(text, position):
            parts.append(match[1])
        elif match := _SYSTEMD_DOUBLE.match(text, position):
            parts.append(_SYSTEMD_ESCAPE.sub(lambda escape: escape[1] or "", match[1]))
        else:
            match = _SYSTEMD_BARE.match(text, position)
            assert match is not None  # it matches nothing, at the least
            bare = _TRAILING_BLANKS.sub("", match[1])
            parts.append(_SYSTEMD_BARE_ESCAPE.sub(lambda escape: escape[1] or "", bare))
            return "".join(parts), match.end()
        position = match.end()


def kubelet(text: str) -> Entries | None:
    """As the kubelet reads a file for fileKeyRef (since 1.35): NAME='value' and nothing else."""
    entries: Entries = []
    position = 0
    while position < len(text):
        line = _KUBELET_LINE.match(text, position)
        if line is None or line.end() == position:
            return None
        position = line.end()
        if line[1] is not None:
            entries.append((line[1], line[2]))
    return entries


def shell(text: str) -> Entries | None:
    """As a POSIX shell reads one assignment `NAME=value`; None when it would do anything else."""
    name, _, rest = text.removesuffix("\n").partition("=")
    rest = rest.rstrip(" \t")
    parts: list[str] = []
    position = 0
    while position < len(rest):
        match = _SHELL_PART.match(rest, position)
        if match is None:
            return None
        position = match.end()
        single, double, escaped, bare = match.groups()
        if single is not None:
            parts.append(single)
        elif double is not None:
            parts.append(_SHELL_ESCAPE.sub(lambda each: "\0" + each[2] if each[2] else each[1] or "", double))
        elif escaped is not None:
            parts.append(escaped if escaped != "\n" else "")
        else:
            parts.append(_SHELL_VARIABLE.sub(lambda each: "\0" + each[0], bare))
    return [(name, "".join(parts))]
