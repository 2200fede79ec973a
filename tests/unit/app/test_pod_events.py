"""Which Events a change of the sidecar's state makes."""

from __future__ import annotations

import pytest

from injector.app.pod_events import news, reason_of
from injector.app.status import FileState, FileStatus, NotificationStatus, SidecarStatus
from injector.backends.plugin_status import PluginState, PluginStatus


def file(state: FileState = FileState.READY, **fields: object) -> FileStatus:
    return FileStatus(template="a.json", output="/config/a.json", state=state, **fields)  # type: ignore[arg-type]


def told(before: SidecarStatus | None, after: SidecarStatus) -> list[tuple[str, str]]:
    return [(one.kind, one.reason) for one in news(before, after)]


READY = SidecarStatus(started=True, files=(file(changed_at=1.0),))


def test_the_first_render_is_one_event_and_no_update() -> None:
    assert told(None, READY) == [("Normal", "ConfigRendered")]
    assert told(SidecarStatus(started=False, files=(file(FileState.PENDING),)), READY) == [("Normal", "ConfigRendered")]


def test_nothing_new_is_no_event() -> None:
    assert told(READY, READY) == []


def test_many_changed_files_are_one_event() -> None:
    names = [f"{number}.json" for number in range(9)]
    before = SidecarStatus(started=True, files=tuple(FileStatus(name, name, FileState.READY) for name in names))
    after = SidecarStatus(
        started=True, files=tuple(FileStatus(name, name, FileState.READY, changed_at=2.0) for name in names)
    )
    (update,) = news(before, after)
    assert (update.reason, update.note) == (
        "ConfigUpdated",
        "9 files updated: 0.json, 1.json, 2.json, 3.json, 4.json and 4 more",
    )


def test_a_stale_file_is_told_once_and_its_recovery() -> None:
    stale = SidecarStatus(started=True, files=(file(FileState.STALE, changed_at=1.0, error="store down"),))
    assert told(READY, stale) == [("Warning", "ServingStale")]
    assert told(stale, stale) == []
    assert told(stale, READY) == [("Normal", "ConfigRendered")]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("value-not-found", "TokenMissing"),
        ("key-not-found", "TokenMissing"),
        ("backend-unavailable", "BackendUnavailable"),
        ("backend-throttled", "BackendUnavailable"),
        ("check-failed", "ValidationFailed"),
        ("access-denied", "RenderFailed"),
        ("template-invalid", "RenderFailed"),
        (None, "RenderFailed"),
    ],
)
def test_the_reason_follows_the_error(code: str | None, reason: str) -> None:
    assert reason_of(code) == reason
    failed = SidecarStatus(started=False, files=(file(FileState.FAILED, error="no", error_code=code),))
    assert told(None, failed) == [("Warning", reason)]


def test_notifications_are_told() -> None:
    def status(**fields: object) -> SidecarStatus:
        return SidecarStatus(started=True, notifications=(NotificationStatus("reload", "http", **fields),))  # type: ignore[arg-type]

    assert told(status(), status(last_at=1.0)) == [("Normal", "ReloadSucceeded")]
    assert told(status(), status(failures=1, error="refused")) == [("Warning", "ReloadFailed")]
    again = status(failures=2, error="refused")
    assert told(status(failures=1, error="refused"), again) == []


def test_a_lost_plugin_is_told() -> None:
    def status(crashes: int) -> SidecarStatus:
        plugin = PluginStatus("demo", PluginState.LOST, 1, crashes, 0, "signal 9", None, None)
        return SidecarStatus(started=True, plugins=(plugin,))

    assert told(status(0), status(1)) == [("Warning", "PluginCrashed")]
    assert told(status(1), status(1)) == []
