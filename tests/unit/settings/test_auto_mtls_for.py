"""`plugins.autoMtlsFor`: another mode for single plugins, each mistake at its place."""

from __future__ import annotations

import pytest

from injector.errors import RunFailed, SettingsError
from injector.model.policy import AutoMtls
from injector.settings.load import load

HEADER = "apiVersion: config-injector.io/v1alpha1\nkind: Injector\nplugins:\n  autoMtls: require\n  autoMtlsFor: "


def plugins(tmp_path, text):
    path = tmp_path / "injector.yaml"
    path.write_text(HEADER + text + "\n")
    return load(path=path, environ={}, flags={}).plugins


def test_modes_arrive_under_the_plugins_names_in_lower_case(tmp_path) -> None:
    found = plugins(tmp_path, '{AwsParamStr: off, demo: prefer, other: "require"}')
    modes = {"awsparamstr": AutoMtls.OFF, "demo": AutoMtls.PREFER, "other": AutoMtls.REQUIRE}
    assert (found.auto_mtls, found.auto_mtls_for) == (AutoMtls.REQUIRE, modes)


@pytest.mark.parametrize("text", ["", "{}", "{demo: }"])
def test_nothing_is_the_same_as_not_set(tmp_path, text) -> None:
    assert plugins(tmp_path, text).auto_mtls_for == {}


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("{demo: never}", (5, 23), "plugins.autoMtlsFor.demo: expected one of require, prefer, off"),
        ("\n    a: off\n    b: 3", (7, 8), "plugins.autoMtlsFor.b: expected one of require, prefer, off, got a number"),
        ("{demo: {mode: off}}", (5, 23), "demo: expected one of require, prefer, off, got a mapping"),
        ("{demo: off, demo: off}", (5, 28), "plugins.autoMtlsFor: a key is there twice"),
        ("[demo]", (5, 16), "plugins.autoMtlsFor: expected a mapping"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path, text, place, said) -> None:
    with pytest.raises((SettingsError, RunFailed)) as caught:
        plugins(tmp_path, text)
    assert said in caught.value.message
    assert (caught.value.place.line, caught.value.place.column) == place
