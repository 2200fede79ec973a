"""Mode, owner and group of written files."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from injector.errors import AccountUnknown
from injector.model.policy import WriteMode
from injector.output.accounts import group_id, user_id
from injector.output.publisher import PublishRequest, publish
from injector.output.sets import SetFile, publish_set
from injector.output.staging import sweep

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files away")


def _owners(path):
    status = path.stat()
    return status.st_uid, status.st_gid, status.st_mode & 0o7777


@needs_root
@pytest.mark.parametrize("write", [WriteMode.RENAME, WriteMode.IN_PLACE])
def test_a_file_gets_the_owner_and_group_that_were_asked_for(tmp_path, write):
    file = tmp_path / "a"
    request = PublishRequest(file, b"1", mode=0o440, owner=1234, group=4321, write=write)
    assert publish([request])[0].changed
    assert _owners(file) == (1234, 4321, 0o440)
    assert not publish([request])[0].changed
    for uid, gid in ((0, 4321), (1234, 0)):
        os.chown(file, uid, gid)
        assert publish([request])[0].changed
        assert _owners(file) == (1234, 4321, 0o440)


@needs_root
def test_files_of_a_set_get_their_owners(tmp_path):
    files = [SetFile("a", b"1", mode=0o440, group=4321), SetFile("d/b", b"2", owner=1234)]
    publish_set(tmp_path, files)
    assert _owners(tmp_path / "a") == (0, 4321, 0o440)
    assert _owners(tmp_path / "d" / "b") == (1234, 0, 0o600)
    assert not any(each.changed for each in publish_set(tmp_path, files))
    files[0] = SetFile("a", b"1", mode=0o440, group=4322)
    assert [each.changed for each in publish_set(tmp_path, files)] == [True, False]


@pytest.mark.fault(37, "an existing file gets the mode and the owner that were asked for")
@pytest.mark.parametrize("write", [WriteMode.RENAME, WriteMode.IN_PLACE])
@pytest.mark.parametrize("mode", [0o777, 0o400, 0o000, 0o644])
def test_an_existing_file_gets_the_mode_that_was_asked_for(tmp_path, mode, write):
    if write is WriteMode.IN_PLACE and os.geteuid() and not mode & 0o200:
        pytest.skip("a file that may not be written is not written in place")
    file = tmp_path / "a"
    file.write_bytes(b"old")
    file.chmod(mode)
    publish([PublishRequest(file, b"new", mode=0o640, write=write)])
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o640)


@pytest.mark.fault(36, "no file is wider than asked, not for a moment, whatever umask says")
@pytest.mark.parametrize("scenario", ["one", "several", "set-first", "set-change"])
@pytest.mark.parametrize("umask", ["000", "077", "777"])
@pytest.mark.parametrize("mode", ["440", "600", "666", "004"])
def test_no_file_is_wider_than_asked_at_any_system_call(syscall_sweep, scenario, umask, mode):
    asked = int(mode, 8)
    ids = (1234, 4321) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    met = syscall_sweep("watch", scenario, umask, mode, *ids)
    assert {(each["mode"], each["owner"], each["group"]) for each in met if each["filled"]} == {(asked, *ids)}
    for each in met:
        assert not each["mode"] & ~asked, each
        if (each["owner"], each["group"]) != ids:
            assert not each["mode"] & 0o077, each


@pytest.mark.fault(36, "in a directory with the setgid bit (fsGroup), files keep its group")
def test_a_file_keeps_the_group_of_a_setgid_directory_unless_one_is_asked_for(tmp_path):
    others = [4242, 4343] if os.geteuid() == 0 else [group for group in os.getgroups() if group != os.getegid()]
    if not others:
        pytest.skip("needs a second group")
    os.chown(tmp_path, -1, others[0])
    tmp_path.chmod(0o2770)
    publish([PublishRequest(tmp_path / "a", b"1", mode=0o640)])
    assert _owners(tmp_path / "a")[1:] == (others[0], 0o640)
    publish([PublishRequest(tmp_path / "a", b"1", mode=0o640, group=os.getegid())])
    assert _owners(tmp_path / "a")[1:] == (os.getegid(), 0o640)


@pytest.mark.fault(36, "a user who may not give files away is told what to set instead")
def test_who_may_not_give_files_away_is_told_what_to_do(open_tmp, unprivileged, elsewhere):
    (open_tmp / "d").mkdir()
    os.chown(open_tmp / "d", unprivileged, unprivileged)
    for options in ({"owner": 0}, {"group": 0}):
        answer = elsewhere.publish([(open_tmp / "d" / "a", b"1", None)], uid=unprivileged, **options)
        assert answer["code"] == "output-unwritable"
        expected = f"cannot set owner or group of {open_tmp}/d/a: uid {unprivileged} is not permitted to"
        assert answer["message"] == expected
        assert "runAsUser and fsGroup" in answer["hint"]
        assert not os.listdir(open_tmp / "d")
    own = {"owner": unprivileged, "group": unprivileged}
    assert elsewhere.publish([(open_tmp / "d" / "a", b"1", None)], uid=unprivileged, **own)["changed"] == [True]


@needs_root
@pytest.mark.fault(41, "leftovers that had been given to another user are removed, too")
def test_leftovers_that_were_given_away_are_swept_by_who_gives_to_the_same_user(tmp_path):
    for number, owner in ((0, 1234), (1, 1234), (2, 0)):
        left = tmp_path / f".injector-0123456789abcdef-{number}.tmp"
        left.write_bytes(b"secret")
        os.chown(left, owner, owner)
    assert sweep(tmp_path) == ()
    publish([PublishRequest(tmp_path / "a", b"1", owner=1234)])
    assert os.listdir(tmp_path) == ["a"]


def test_users_and_groups_go_by_name_or_number():
    user, group = pwd.getpwuid(0), grp.getgrgid(0)
    assert (user_id(user.pw_name), group_id(group.gr_name)) == (0, 0)
    assert (user_id("65532"), group_id("0")) == (65532, 0)
    assert user_id("4294967294") == 4294967294


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no-such-name", "there is no user 'no-such-name' here"),
        ("", "there is no user '' here"),
        ("-1", "there is no user '-1' here"),
        ("a\0b", "there is no user"),
        ("4294967295", "4294967295 is no user id"),
        ("9" * 5000, "is no user id"),
    ],
)
def test_an_unknown_user_is_an_error_that_says_what_to_do(text, message):
    with pytest.raises(AccountUnknown, match=message) as caught:
        user_id(text)
    assert caught.value.exit_code == 3
    assert "number" in caught.value.hint
    with pytest.raises(AccountUnknown, match=message.replace("user", "group")):
        group_id(text)


@pytest.mark.parametrize("wrong", [{"mode": 0o1777}, {"owner": -1}, {"group": -5}, {"write": WriteMode.SET}])
def test_attributes_that_no_file_can_have_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=r"mode|ids|set"):
        PublishRequest(tmp_path / "a", b"", **wrong)
