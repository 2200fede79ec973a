"""
`injector.plugins.lock`: which bytes a plugin may have, for each platform. Text to values and back; nothing is hashed.

    apiVersion: config-injector.io/v1alpha1
    kind: PluginLock
    plugins:
      demostore:
        linux-amd64:
          sha256: 0c9d…            # 64 hexadecimal digits, of the file
          size: 18366464           # bytes
          source: "https://…"      # only if it was installed from there
        wasm: …

The text is the same for the same entries, one fact a line, sorted: a diff of two versions shows what changed.
"""

from __future__ import annotations

import json
import re
import stat
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from injector.errors import InjectorError, Place, PluginLockInvalid, PluginLockNotFound, RunFailed, SettingsError
from injector.settings.document import compose, suggestion
from injector.settings.schema import API_VERSION, LOCK_KIND

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from yaml.nodes import Node

WASM: Final = "wasm"
"""The platform of a WASM module, which runs everywhere."""

_LARGEST: Final = 1024 * 1024  # bytes: some five thousand entries
_NAME: Final = r"[a-z][a-z0-9_]*"
_PLATFORM: Final = r"[a-z0-9]+-[a-z0-9]+"
_SHA256: Final = r"[0-9a-f]{64}"
_SIZE: Final = r"[0-9]{1,15}"
_SOURCE: Final = r"https?://[!-~]+"
_PLAIN_IN_YAML: Final = r"(?!(?:null|true|false|yes|no|on|off|y|n|nan|inf)$)[a-z][a-z0-9_]*"
_HEADER_HINT: Final = f"a lock file starts with 'apiVersion: {API_VERSION}' and 'kind: {LOCK_KIND}'"
_HEADER: Final = """\
# Which bytes each plugin may have. Written by `injector plugin lock`; keep it under version control.
# A plugin that differs from it, or is not in it, is not started.
"""


class LockEntry(Struct, frozen=True):
    """One file: its SHA-256 (64 lower-case hexadecimal digits), its size in bytes, the URL it was installed from."""

    sha256: str
    size: int
    source: str | None = None


class Lock(Struct, frozen=True):
    """Entries by plugin name (lower case) and platform (`linux-amd64`, `wasm`)."""

    entries: dict[tuple[str, str], LockEntry]

    def get(self, name: str, platform: str) -> LockEntry | None:
        """The entry for one file, or None."""
        return self.entries.get((name, platform))


def is_name(text: str) -> bool:
    """Whether a plugin can have this name."""
    return re.fullmatch(_NAME, text) is not None


def is_platform(text: str) -> bool:
    """Whether this is written as a platform is: `linux-amd64`, or `wasm`."""
    return text == WASM or re.fullmatch(_PLATFORM, text) is not None


def is_sha256(text: str) -> bool:
    """Whether these are 64 lower-case hexadecimal digits."""
    return re.fullmatch(_SHA256, text) is not None


def read_lock(path: Path) -> Lock:
    """
    Reads and checks a lock file.

    Raises:
        PluginLockNotFound: there is none.
        PluginLockInvalid: it cannot be read, others than its owner and group may write it, or it holds one mistake.
        RunFailed: it holds several mistakes.
    """
    return parse_lock(_read(path), str(path))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
            mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        raise PluginLockNotFound(
            f"the lock file {path} does not exist", hint="`injector plugin lock` writes it"
        ) from None
    except OSError as error:
        raise PluginLockInvalid(f"the lock file {path} cannot be read: {error.strerror}") from None
    if mode & stat.S_IWOTH:
        raise PluginLockInvalid(f"the lock file {path} may be written by everybody", hint=f"chmod o-w {path}")
    if len(data) > _LARGEST:
        raise PluginLockInvalid(f"the lock file {path} is larger than {_LARGEST} bytes", hint="is it the right file?")
    return data


def parse_lock(data: bytes, name: str) -> Lock:
    """
    The lock that a text in UTF-8 holds. *name* is the file's for messages.

    Raises PluginLockInvalid, with its place, for one mistake, RunFailed for several.
    """
    try:
        root = compose(data, name)
    except SettingsError as error:
        raise PluginLockInvalid(error.message, hint=error.hint, place=error.place) from None
    if root is None:
        raise PluginLockInvalid(f"{name} is empty", hint=_HEADER_HINT)
    walk = _Walk(name)
    entries = walk.lock(root)
    if len(walk.problems) == 1:
        raise walk.problems[0]
    if walk.problems:
        raise RunFailed(walk.problems)
    return Lock(entries)


def format_lock(lock: Lock) -> bytes:
    """The text of a lock file, in UTF-8; `parse_lock` gives the same lock back."""
    lines = [f"{_HEADER}apiVersion: {API_VERSION}", f"kind: {LOCK_KIND}"]
    lines.append("plugins:" if lock.entries else "plugins: {}")
    last = None
    for (name, platform), entry in sorted(lock.entries.items()):
        if name != last:
            lines.append(f"  {_key(name)}:")
            last = name
        lines += [f"    {platform}:", f"      sha256: {entry.sha256}", f"      size: {entry.size}"]
        if entry.source is not None:
            lines.append(f"      source: {json.dumps(entry.source)}")
    return ("\n".join(lines) + "\n").encode()


def _key(name: str) -> str:
    # `on` and `no` are booleans to other readers of YAML.
    return name if re.fullmatch(_PLAIN_IN_YAML, name) else f'"{name}"'


class _Walk:
    """One walk over a document; what is wrong with it goes into `problems`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.problems: list[InjectorError] = []

    def lock(self, root: Node) -> dict[tuple[str, str], LockEntry]:
        top = self._mapping(root, "the lock file", ("apiVersion", "kind", "plugins"))
        misspelt = bool(self.problems)  # then what is missing is there, under another name
        for key, wanted in (("apiVersion", API_VERSION), ("kind", LOCK_KIND)):
            node = top.get(key)
            if node is None and not misspelt:
                self._problem(root, f"{key} is missing", _HEADER_HINT)
            elif node is not None and node.value != wanted:
                self._problem(node, f"{key} is not one that this version knows", f"write '{key}: {wanted}'")
        if "plugins" not in top:
            if not misspelt:
                self._problem(root, "plugins is missing", "write 'plugins: {}' for a lock that allows none")
            return {}
        entries: dict[tuple[str, str], LockEntry] = {}
        for name, platforms in self._mapping(top["plugins"], "plugins", None).items():
            where = f"plugins.{_shown(name)}"
            if not is_name(name):
                self._problem(platforms, f"{where}: this is no plugin's name", "a prefix in lower case: awsparamstr")
                continue
            for platform, node in self._mapping(platforms, where, None).items():
                entry = self._entry(node, f"{where}.{_shown(platform)}", platform)
                if entry is not None:
                    entries[name, platform] = entry
        return entries

    def _entry(self, node: Node, where: str, platform: str) -> LockEntry | None:
        if not is_platform(platform):
            self._problem(node, f"{where}: this is no platform", "write it as linux-amd64, darwin-arm64 or wasm")
            return None
        known = len(self.problems)
        facts = self._mapping(node, where, ("sha256", "size", "source"))
        if "sha256" not in facts or "size" not in facts:
            if len(self.problems) == known:
                self._problem(node, f"{where} needs sha256 and size", "run `injector plugin lock`")
            return None
        digest = self._text(facts["sha256"], f"{where}.sha256", _SHA256, "64 lower-case hexadecimal digits")
        size = self._text(facts["size"], f"{where}.size", _SIZE, "a number of bytes")
        source = None
        if "source" in facts:
            source = self._text(facts["source"], f"{where}.source", _SOURCE, "an https:// URL")
        return LockEntry(digest, int(size), source) if digest and size else None

    def _text(self, node: Node, where: str, pattern: str, expected: str) -> str | None:
        if isinstance(node.value, str) and re.fullmatch(pattern, node.value):
            return node.value
        self._problem(node, f"{where}: expected {expected}", None)
        return None

    def _is_mapping(self, node: Node) -> bool:
        return str(node.tag) == "tag:yaml.org,2002:map"

    def _mapping(self, node: Node, where: str, known: Iterable[str] | None) -> Mapping[str, Node]:
        """The entries of a mapping; keys that are there twice or are none of *known* are problems and left out."""
        if not self._is_mapping(node):
            self._problem(node, f"{where}: expected a mapping", _HEADER_HINT if where == "the lock file" else None)
            return {}
        entries: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node.value, str) else ""
            shown = _shown(key) if known is None or where == "the lock file" else f"{where}.{_shown(key)}"
            if key in entries:
                self._problem(key_node, f"{shown} is there twice, first on line {lines[key]}", "remove one of them")
            elif known is not None and key not in known:
                hint = suggestion(key, known) or f"the keys here are {', '.join(known)}"
                self._problem(key_node, f"{shown} is no key of a lock file", hint)
            else:
                entries[key] = value
                lines[key] = key_node.start_mark.line + 1
        return entries

    def _problem(self, node: Node, message: str, hint: str | None) -> None:
        mark = node.start_mark
        place = Place(self._name, mark.line + 1, mark.column + 1)
        self.problems.append(PluginLockInvalid(message, hint=hint, place=place))


def _shown(key: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in key[:60]) or "this key"
