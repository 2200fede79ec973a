"""How durations, sizes and modes are written."""

from __future__ import annotations

import pytest

from injector.settings import kinds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("1m0.5s", 60.5),
        ("250us", 0.00025),
        ("250\u00b5s", 0.00025),
        ("8760h", 31_536_000.0),
    ],
)
def test_durations_are_those_of_go(text, seconds):
    assert kinds.duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "30", "s", "-1s", "+1s", "1 s", "1d", "0s", "0h0m", ".5s", "1e3s", "9000h", "1s" * 99, "\u0661s", "inf"],
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"^$"):
        kinds.duration(text)


@pytest.mark.parametrize(
    ("text", "octets"),
    [("4096", 4096), ("16Mi", 16 << 20), ("64M", 64_000_000), ("1.5Gi", 3 << 29), ("1k", 1000), ("0.0001k", 1)],
)
def test_sizes_are_kubernetes_quantities(text, octets):
    assert kinds.size(text) == octets


@pytest.mark.parametrize("text", ["", "16MB", "16mi", "Mi", "-1", "0", "2Gi", "1e3", "1m", "16 Mi", "1K", "9" * 30])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match=r"^$"):
        kinds.size(text)


@pytest.mark.parametrize(
    ("text", "bits"), [("0600", 0o600), ("640", 0o640), ("0o400", 0o400), ("0777", 0o777), ("0", 0)]
)
def test_modes_are_octal(text, bits):
    assert kinds.mode(text) == bits


@pytest.mark.parametrize("text", ["1777", "4755", "0800", "-600", "rw", "", "0x1ff", "7" * 13])
def test_a_mode_beyond_permission_bits_is_refused(text):
    with pytest.raises(ValueError, match=r"^$"):
        kinds.mode(text)
