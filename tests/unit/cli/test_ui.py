"""`injector ui` before it serves; what it does then is in tests/integration/test_ui_command.py."""

from __future__ import annotations

import sys

import pytest

from injector.cli import main as entry
from injector.cli.ui import _loopback
from injector.errors import UsageError


@pytest.mark.parametrize(
    ("address", "found"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("LOCALHOST:8123", ("127.0.0.1", 8123)), ("[::1]:80", ("::1", 80))],
)
def test_the_loopback_interface_has_three_names(address: str, found: tuple[str, int]) -> None:
    assert _loopback(address) == found


@pytest.mark.parametrize("address", [":0", "0.0.0.0:0", "[::]:0", "[::ffff:127.0.0.1]:0", "127.1:0", "10.0.0.1:0"])
def test_whatever_others_could_reach_is_refused_with_a_way_out(address: str) -> None:
    with pytest.raises(UsageError, match="not the loopback interface") as caught:
        _loopback(address)
    assert "port-forward" in str(caught.value.hint)


@pytest.mark.parametrize("interval", ["0s", "1ms", "2h", "5", "off", "x"])
def test_an_interval_without_sense_is_refused(interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["ui", "--interval", interval]) == 2
    assert "--interval" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("injector.web", "injector.listener"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setitem(sys.modules, "uvicorn.config", None)
    assert entry.main(["ui"]) == 2
    assert "kube-config-injector[webhook]" in capsys.readouterr().err
