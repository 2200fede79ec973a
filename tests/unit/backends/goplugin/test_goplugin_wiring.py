"""What is asked of a connection, what answers it, and who listens at its other end."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from injector.backends.goplugin.environment import plugin_environment
from injector.backends.goplugin.handshake import Handshake
from injector.backends.goplugin.peer import peer_credentials
from injector.backends.goplugin.socket_directory import SocketDirectory
from injector.backends.goplugin.wiring import Wiring, refusal
from injector.errors import PluginStartFailed
from injector.model.policy import AutoMtls

REQUIRE, PREFER, OFF = AutoMtls.REQUIRE, AutoMtls.PREFER, AutoMtls.OFF


@pytest.mark.parametrize(
    ("asked", "certificate", "multiplex", "answered", "reason"),
    [
        (PREFER, None, False, False, None),
        (PREFER, b"x", False, False, None),
        (REQUIRE, b"x", False, False, None),
        (REQUIRE, None, False, False, "no certificate, and AutoMTLS is required"),
        (OFF, None, False, False, None),
        (OFF, b"x", False, False, "TLS was not asked for"),
        (PREFER, None, True, True, None),
        (PREFER, None, False, True, None),
        (PREFER, None, True, False, "does not multiplex"),
    ],
)
def test_a_handshake_has_to_answer_what_was_asked_for(asked, certificate, multiplex, answered, reason) -> None:
    handshake = Handshake(1, "unix", "/x", certificate, answered)
    found = refusal(handshake, Wiring(auto_mtls=asked, multiplex=multiplex))
    assert (found is None) is (reason is None)
    if found is not None and reason is not None:
        assert reason in found[0]
        assert found[1]


def test_the_plugin_is_told_all_that_is_asked_of_it() -> None:
    wiring = Wiring(multiplex=True, min_port=1, max_port=2, socket_group="g")
    seen = plugin_environment({}, socket_directory=Path("/d"), versions=(1,), wiring=wiring, client_certificate="pem")
    assert seen["PLUGIN_MULTIPLEX_GRPC"] == "true"
    assert (seen["PLUGIN_MIN_PORT"], seen["PLUGIN_MAX_PORT"]) == ("1", "2")
    assert (seen["PLUGIN_UNIX_SOCKET_GROUP"], seen["PLUGIN_CLIENT_CERT"]) == ("g", "pem")


def test_the_other_end_of_a_unix_socket_is_known_and_that_of_tcp_is_not() -> None:
    one, two = socket.socketpair()
    with one, two:
        assert peer_credentials(one) == (os.getpid(), os.geteuid())
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert peer_credentials(client) is None


@pytest.fixture
def base():
    import shutil
    import tempfile

    path = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def test_a_chosen_place_is_used_and_a_group_may_enter(base: Path) -> None:
    directory = SocketDirectory.create({"TMPDIR": "/elsewhere"}, base=base, group=str(os.getgid()))
    assert directory.path.parent == base
    assert directory.path.stat().st_mode & 0o777 == 0o770
    assert directory.path.stat().st_gid == os.getgid()
    directory.remove()
    assert list(base.iterdir()) == []


@pytest.mark.parametrize("place", [Path("/does/not/exist"), Path("relative"), Path("/" + "x" * 200)])
def test_a_chosen_place_that_cannot_be_used_is_not_replaced_by_another(place: Path) -> None:
    with pytest.raises(PluginStartFailed, match="no place for a plugin's socket") as caught:
        SocketDirectory.create({"TMPDIR": "/tmp"}, base=place)
    assert "socketDirectory" in (caught.value.hint or "")


def test_a_group_that_does_not_exist_is_told_of_and_leaves_nothing(base: Path) -> None:
    with pytest.raises(PluginStartFailed, match='the group "no-such-group": there is no such group'):
        SocketDirectory.create({}, base=base, group="no-such-group")
    assert list(base.iterdir()) == []
