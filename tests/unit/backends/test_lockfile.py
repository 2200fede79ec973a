"""The lock file: what is read, what is refused and where, and that its text is stable."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from injector.backends.lockfile import Lock, LockEntry, format_lock, parse_lock, read_lock
from injector.errors import ExitCode, PluginLockInvalid, PluginLockNotFound, RunFailed

HEADER = "apiVersion: config-injector.io/v1alpha1\nkind: PluginLock\n"
SUM = "ab" * 32
GOOD = f"{HEADER}plugins:\n  demo:\n    linux-amd64:\n      sha256: {SUM}\n      size: 5\n"


def _problems(text: str) -> list[tuple[str, str, str | None]]:
    with pytest.raises((PluginLockInvalid, RunFailed)) as caught:
        parse_lock(text.encode(), "lock")
    error = caught.value
    errors = error.errors if isinstance(error, RunFailed) else (error,)
    assert all(isinstance(single, PluginLockInvalid) for single in errors)
    assert error.exit_code is ExitCode.INVALID
    return [(str(single.place or ""), single.message, single.hint) for single in errors]


def test_entries_are_read_by_name_and_platform() -> None:
    lock = parse_lock(GOOD.encode(), "lock")
    assert lock.entries == {("demo", "linux-amd64"): LockEntry(SUM, 5)}
    assert lock.get("demo", "linux-amd64") == LockEntry(SUM, 5)
    assert lock.get("demo", "darwin-arm64") is None


def test_the_text_is_sorted_one_fact_a_line_and_for_other_readers_of_yaml_too() -> None:
    entries = {
        ("on", "wasm"): LockEntry("c" * 64, 3),
        ("demo", "windows-amd64"): LockEntry("b" * 64, 2, "https://example.com/a?b#c"),
        ("demo", "darwin-arm64"): LockEntry("a" * 64, 1),
    }
    text = format_lock(Lock(entries)).decode()
    body = text.partition("plugins:")[2].splitlines()[1:]
    assert [line.strip() for line in body] == [
        "demo:",
        "darwin-arm64:",
        f"sha256: {'a' * 64}",
        "size: 1",
        "windows-amd64:",
        f"sha256: {'b' * 64}",
        "size: 2",
        'source: "https://example.com/a?b#c"',
        '"on":',
        "wasm:",
        f"sha256: {'c' * 64}",
        "size: 3",
    ]
    assert text.startswith("# ")
    assert set(yaml.safe_load(text)["plugins"]) == {"demo", "on"}
    assert parse_lock(text.encode(), "lock") == Lock(entries)


def test_an_empty_lock_is_one_that_allows_nothing() -> None:
    assert parse_lock(format_lock(Lock({})), "lock") == Lock({})


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("", "", "lock is empty", "apiVersion"),
        ("{", "lock:2:1", "this is not valid YAML", "quotes"),
        ("[" * 40, "lock:1:33", "nested too deeply", None),
        ("- a", "lock:1:1", "expected a mapping", "apiVersion"),
        (GOOD.replace("kind: PluginLock", "kind: Injector"), "lock:2:7", "kind is not one", "kind: PluginLock"),
        (GOOD.replace("v1alpha1", "v9"), "lock:1:13", "apiVersion is not one that this version knows", "v1alpha1"),
        (HEADER, "lock:1:1", "plugins is missing", "plugins: {}"),
        (GOOD.replace("plugins:", "plugin:"), "lock:3:1", "plugin is no key of a lock file", "did you mean plugins?"),
        (GOOD.replace("size", "siz"), "lock:7:7", "linux-amd64.siz is no key", "did you mean size?"),
        (GOOD.replace("      size: 5\n", ""), "lock:6:7", "needs sha256 and size", "plugin lock"),
        (GOOD.replace(SUM, SUM.upper()), "lock:6:15", "expected 64 lower-case hexadecimal digits", None),
        (GOOD.replace(SUM, SUM[1:]), "lock:6:15", "expected 64 lower-case hexadecimal digits", None),
        (GOOD.replace(SUM, f"[{SUM}]"), "lock:6:15", "expected 64 lower-case hexadecimal digits", None),
        (GOOD.replace("size: 5", "size: -5"), "lock:7:13", "expected a number of bytes", None),
        (GOOD.replace("size: 5", "size: 5\n      source: file:///x"), "lock:8:15", "expected an https:// URL", None),
        (GOOD.replace("  demo", "  De-mo"), "lock:5:5", "plugins.De-mo: this is no plugin's name", "lower case"),
        (GOOD.replace("linux-amd64", "linux/amd64"), "lock:6:7", "this is no platform", "linux-amd64"),
        (f"{HEADER}plugins: [a]", "lock:3:10", "plugins: expected a mapping", None),
        (f"{HEADER}plugins: {{demo: 3}}", "lock:3:17", "plugins.demo: expected a mapping", None),
        (GOOD + GOOD.partition("plugins:\n")[2], "lock:8:3", "demo is there twice, first on line 4", "remove"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, place: str, message: str, hint: str | None) -> None:
    [(found_place, found_message, found_hint)] = _problems(text)
    assert found_place == place
    assert message in found_message
    assert hint is None or (found_hint is not None and hint in found_hint)


def test_all_mistakes_are_told_at_once() -> None:
    assert len(_problems(GOOD.replace("v1alpha1", "v9").replace(SUM, "x").replace("size: 5", "size: x"))) == 3


def test_text_that_is_no_utf_8_is_no_lock() -> None:
    with pytest.raises(PluginLockInvalid):
        parse_lock(GOOD.encode() + b"\xff", "lock")


def test_a_lock_file_that_is_missing_unreadable_or_anybodys_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(PluginLockNotFound, match="does not exist"):
        read_lock(path)
    with pytest.raises(PluginLockInvalid, match="cannot be read: Is a directory"):
        read_lock(tmp_path)
    path.write_text(GOOD)
    assert read_lock(path) == parse_lock(GOOD.encode(), "lock")
    path.chmod(0o666)
    with pytest.raises(PluginLockInvalid, match="may be written by everybody") as caught:
        read_lock(path)
    assert caught.value.hint == f"chmod o-w {path}"
    path.chmod(0o600)
    path.write_bytes(GOOD.encode() + b"#" * (1 << 20))
    with pytest.raises(PluginLockInvalid, match="larger than"):
        read_lock(path)
