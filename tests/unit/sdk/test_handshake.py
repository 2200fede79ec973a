"""The cookie, the host's wishes and the line that answers them."""

from __future__ import annotations

import pytest

from injector.sdk.handshake import (
    StartRefused,
    handshake_line,
    introduction,
    is_started_by_host,
    negotiate,
    take_wishes,
)


@pytest.mark.parametrize(
    ("offered", "spoken", "version"),
    [
        ("", (1,), 1),
        ("1", (1,), 1),
        ("1,2", (1,), 1),
        ("2,1", (1, 2), 2),
        (" 1 , 2 ", (1, 2), 2),
        ("7", (1, 2), 1),
        ("x,-1,²,1", (1, 2), 1),
    ],
)
def test_the_highest_common_version_wins_else_our_lowest(offered, spoken, version):
    assert negotiate(offered, spoken=spoken)[0] == version


def test_entries_that_are_no_versions_are_named():
    assert len(negotiate("1,x,-2,,²")[1]) == 3


def test_wishes_are_taken_out_of_the_environment():
    environment = {
        "CONFIGMANAGER_PLUGIN": "configmanager-plugin-hello",
        "PLUGIN_PROTOCOL_VERSIONS": "1",
        "PLUGIN_MIN_PORT": "10",
        "PLUGIN_MAX_PORT": "20",
        "PLUGIN_UNIX_SOCKET_DIR": "/d",
        "PLUGIN_UNIX_SOCKET_GROUP": "g",
        "PLUGIN_MULTIPLEX_GRPC": "true",
        "PLUGIN_CLIENT_CERT": "pem",
        "PLUGIN_SOMETHING_NEW": "x",
        "PATH": "/bin",
    }
    assert is_started_by_host(environment)
    wishes = take_wishes(environment)
    assert environment == {"PATH": "/bin"}
    assert (wishes.protocol_version, wishes.ports) == (1, (10, 20))
    assert (wishes.socket_directory, wishes.socket_group) == ("/d", "g")
    assert wishes.asks_for_multiplexing
    assert wishes.client_certificate == "pem"


@pytest.mark.parametrize(("text", "asks"), [("", False), ("false", False), ("0", False), ("1", True), ("TRUE", True)])
def test_multiplexing_is_asked_for_by_a_truth_value_of_go(text, asks):
    assert take_wishes({"PLUGIN_MULTIPLEX_GRPC": text}).asks_for_multiplexing is asks


@pytest.mark.parametrize(
    "environment",
    [
        {"PLUGIN_MIN_PORT": "2", "PLUGIN_MAX_PORT": "1"},
        {"PLUGIN_MIN_PORT": "5"},
        {"PLUGIN_MAX_PORT": "65536"},
        {"PLUGIN_MAX_PORT": "-1"},
    ],
)
def test_wishes_that_cannot_be_granted_refuse_the_start(environment):
    with pytest.raises(StartRefused):
        take_wishes(environment)


@pytest.mark.parametrize("value", [None, "", "configmanager-plugin-hello "])
def test_without_the_cookie_no_host_has_started_us(value):
    assert not is_started_by_host({} if value is None else {"CONFIGMANAGER_PLUGIN": value})


def test_the_line_has_a_seventh_field_only_for_hosts_that_know_it():
    assert handshake_line(1, "unix", "/s") == "1|1|unix|/s|grpc|\n"
    assert handshake_line(1, "unix", "/s", certificate="MII") == "1|1|unix|/s|grpc|MII\n"
    assert handshake_line(2, "tcp", "127.0.0.1:1", multiplexed=True) == "1|2|tcp|127.0.0.1:1|grpc||true\n"


def test_the_introduction_names_the_program_and_the_place():
    text = introduction("files")
    assert text.startswith("files is a plugin")
    assert ".configmanager/plugins/<prefix>/<prefix>-" in text
