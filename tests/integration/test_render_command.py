"""`injector render` as a user runs it: a process, files, exit codes, what it prints."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE, eventually

INJECTOR = Path(sys.executable).with_name("injector")
ENVIRONMENT = {"DB_PASSWORD": "canary-pa55", "GREETING": "hello", "NESTED": '{"a": {"b": "deep"}}'}
NOBODY = ["setpriv", "--reuid", "65532", "--regid", "65532", "--clear-groups"]


@pytest.fixture
def injector(tmp_path: Path):
    """Runs the command in an empty directory with a small environment."""

    def run(
        *arguments: str | Path, stdin: bytes = b"", env: dict[str, str] | None = None, wrap: list[str] | None = None
    ):
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **ENVIRONMENT, **(env or {})}
        command = [*(wrap or []), INJECTOR, *arguments]
        return subprocess.run(
            command, input=stdin, check=False, capture_output=True, env=environment, cwd=tmp_path, timeout=100
        )

    return run


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if ".injector-" in path.name]


# ------------------------------------------------------------------------------------------------- where it goes


def test_standard_input_to_standard_output(injector) -> None:
    done = injector("render", "-", stdin=b"pw=ENV://DB_PASSWORD\r\n\tx\xff\x00")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"pw=canary-pa55\r\n\tx\xff\x00", b"")


def test_one_file_to_one_file_that_only_its_owner_can_read(injector, tmp_path: Path) -> None:
    (tmp_path / "app.tmpl").write_text("pw: ENV://DB_PASSWORD\n")
    done = injector("render", "app.tmpl", "-o", "app.yml")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "app.yml").read_text() == "pw: canary-pa55\n"
    assert (tmp_path / "app.yml").stat().st_mode & 0o777 == 0o600
    assert b"rendered 1 file, 1 token, 1 fetch" in done.stderr
    assert done.stdout == b""


def test_the_mode_is_the_one_that_was_asked_for(injector, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("x")
    assert (
        injector(
            "render", "t", "-o", "out", "--mode", "0644", wrap=["sh", "-c", 'umask 077; exec "$0" "$@"']
        ).returncode
        == 0
    )
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o644


def test_a_set_is_switched_as_a_whole_and_holds_nothing_of_the_one_before(injector, tmp_path: Path) -> None:
    (tmp_path / "in/d").mkdir(parents=True)
    (tmp_path / "in/a").write_text("pw: ENV://DB_PASSWORD\n")
    (tmp_path / "in/d/b.tmpl").write_text("b")
    command = ["render", "in", "--output-dir", "out", "--write", "set"]
    assert injector(*command).returncode == 0
    out = tmp_path / "out"
    assert os.readlink(out / "a") == "..data/a"
    assert (out / "a").read_text() == "pw: canary-pa55\n"
    assert (out / "d/b").read_text() == "b"
    generation = os.readlink(out / "..data")
    assert injector(*command).returncode == 0
    assert os.readlink(out / "..data") == generation
    (tmp_path / "in/d/b.tmpl").unlink()
    assert injector(*command).returncode == 0
    assert sorted(os.listdir(out)) == [os.readlink(out / "..data"), "..data", "a"]


def test_a_set_without_a_directory_is_a_mistake_of_the_command_line(injector, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("x")
    done = injector("render", "t", "-o", "out", "--write", "set")
    assert done.returncode == 2
    assert b"switches a whole output directory at once" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_is_written_in_place_where_that_was_asked_for(injector, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("new")
    (tmp_path / "out").write_text("old and longer")
    inode = (tmp_path / "out").stat().st_ino
    assert injector("render", "t", "-o", "out", "--write", "in-place").returncode == 0
    assert ((tmp_path / "out").read_text(), (tmp_path / "out").stat().st_ino) == ("new", inode)


def test_files_get_the_owner_and_group_that_were_asked_for(injector, tmp_path: Path) -> None:
    owner, group = (1234, 4321) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    (tmp_path / "t").write_text("x")
    for more in (["-o", "out"], ["--output-dir", "set", "--write", "set"]):
        done = injector("render", "t", *more, "--owner", str(owner), "--group", str(group))
        assert done.returncode == 0, done.stderr
    for file in (tmp_path / "out", tmp_path / "set" / "t"):
        assert (file.stat().st_uid, file.stat().st_gid) == (owner, group)


def test_an_owner_that_is_nobody_is_an_error_before_anything_is_written(injector, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("x")
    done = injector("render", "t", "-o", "out", "--owner", "no-such-user")
    assert done.returncode == 3
    assert b"there is no user 'no-such-user' here" in done.stderr
    assert not (tmp_path / "out").exists()


def test_directories_keep_their_tree_and_lose_template_suffixes(injector, tmp_path: Path) -> None:
    for name in ("a/app.yml", "a/deep/er/x.conf.tmpl", "a/.env", "b.properties.tpl"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("v=ENV://GREETING")
    (tmp_path / "single.txt").write_text("v=ENV://GREETING")
    done = injector("render", "in", "single.txt", "--output-dir", "out")
    assert done.returncode == 0, done.stderr
    found = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert found == ["a/.env", "a/app.yml", "a/deep/er/x.conf", "b.properties", "single.txt"]
    assert {(tmp_path / "out" / name).read_text() for name in found} == {"v=hello"}


def test_several_templates_need_a_directory(injector, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("x")
    for arguments in (["a", "b"], ["a", "b", "-o", "out"]):
        done = injector("render", *arguments)
        assert done.returncode == 2
        assert b"--output-dir" in done.stderr
    assert not (tmp_path / "out").exists()


def test_standard_input_needs_a_file_of_its_own(injector, tmp_path: Path) -> None:
    done = injector("render", "-", "--output-dir", "out", stdin=b"x")
    assert (done.returncode, b"--output" in done.stderr) == (2, True)


def test_the_same_file_as_input_and_output_is_safe(injector, tmp_path: Path) -> None:
    file = tmp_path / "same"
    file.write_text("pw=ENV://DB_PASSWORD ENV://NOPE")
    assert injector("render", "same", "-o", "same").returncode == 4
    assert file.read_text() == "pw=ENV://DB_PASSWORD ENV://NOPE"
    file.write_text("pw=ENV://DB_PASSWORD")
    assert injector("render", "same", "-o", "same").returncode == 0
    assert file.read_text() == "pw=canary-pa55"


def test_an_unchanged_output_is_not_touched(injector, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("ENV://GREETING")
    injector("render", "t", "-o", "out")
    before = (tmp_path / "out").stat()
    done = injector("render", "t", "-o", "out")
    after = (tmp_path / "out").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)
    assert b"1 unchanged" in done.stderr


# ----------------------------------------------------------------------------------------------------- policies


@pytest.mark.fault(52, "exit code 4, every missing one with its place, nothing written")
@pytest.mark.fault(54, "one run: nothing is written, the last good files stay")
def test_all_failed_tokens_of_all_files_are_reported_together_and_nothing_is_written(injector, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").write_text("ok ENV://GREETING\nENV://NO_1\n  ENV://NO_2")
    (tmp_path / "in/b").write_text("ENV://NESTED|nope ENV://GREETING|key")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").write_text("the last good one")
    done = injector("render", "in", "--output-dir", "out")
    assert done.returncode == 4
    for place in (b"a:2:1", b"a:3:3", b"b:1:1", b"b:1:19"):
        assert place in done.stderr
    assert (tmp_path / "out/a").read_text() == "the last good one"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


@pytest.mark.fault(52, "with --lax a warning")
def test_lax_keeps_the_token_and_warns(injector) -> None:
    done = injector("render", "-", "--lax", stdin=b"a=ENV://NOPE;b=ENV://GREETING;c=ENV://GREETING|k")
    assert (done.returncode, done.stdout) == (0, b"a=ENV://NOPE;b=hello;c=ENV://GREETING|k")
    assert done.stderr.count(b"warning:") == 2
    assert injector("render", "-", "--lax", "-q", stdin=b"a=ENV://NOPE").stderr == b""


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--on-missing", "empty"], b"a="),
        (["--on-missing", "default", "--default-value", "none"], b"a=none"),
        (["--on-missing", "keep"], b"a=ENV://NOPE"),
    ],
)
@pytest.mark.fault(52, "or what the policy says")
def test_policies_for_what_is_missing(injector, flags: list[str], expected: bytes) -> None:
    assert injector("render", "-", *flags, stdin=b"a=ENV://NOPE").stdout == expected


def test_separators_of_configmanager_v2(injector) -> None:
    done = injector("render", "-", "--token-separator", "#", "--key-separator", "^", stdin=b"ENV#NESTED^a.b ENV://X")
    assert done.stdout == b"deep ENV://X"


def test_envsubst_goes_first_and_places_are_those_of_the_file(injector) -> None:
    done = injector("render", "-", "--envsubst", stdin=b"$GREETING ENV://${WHICH:-DB_PASSWORD} $1 $$ ${a.b}")
    assert done.stdout == b"hello canary-pa55 $1 $$ ${a.b}"
    done = injector("render", "-", "--envsubst", stdin=b"${GREETING}${GREETING} ENV://NOPE\n$UNSET_A $UNSET_B")
    assert done.returncode == 3
    assert b"<stdin>:2:1" in done.stderr
    assert b"<stdin>:2:10" in done.stderr
    done = injector("render", "-", "--envsubst", stdin=b"${GREETING}${GREETING} ENV://NOPE\n")
    assert b"<stdin>:1:24" in done.stderr


def test_settings_come_from_flag_then_variable_then_file(injector, tmp_path: Path) -> None:
    head = "apiVersion: config-injector.io/v1alpha1\nkind: Injector\n"
    (tmp_path / "s.yml").write_text(f"{head}onMissing: default\ndefaultValue: file\n")
    run = ["render", "-", "--config", "s.yml"]
    assert injector(*run, stdin=b"ENV://NOPE").stdout == b"file"
    assert injector(*run, stdin=b"ENV://NOPE", env={"INJECTOR_DEFAULT_VALUE": "variable"}).stdout == b"variable"
    both = injector(*run, "--default-value", "flag", stdin=b"ENV://NOPE", env={"INJECTOR_DEFAULT_VALUE": "variable"})
    assert both.stdout == b"flag"


def test_a_template_can_have_settings_of_its_own(injector, tmp_path: Path) -> None:
    head = "apiVersion: config-injector.io/v1alpha1\nkind: Injector\n"
    (tmp_path / "s.yml").write_text(f"{head}files:\n- match: '*.v2'\n  tokenSeparator: '#'\n  mode: '0640'\n")
    for name in ("old.v2", "new"):
        (tmp_path / name).write_text("ENV#GREETING ENV://GREETING")
    assert injector("render", "old.v2", "new", "--config", "s.yml", "--output-dir", "out").returncode == 0
    assert (tmp_path / "out/old.v2").read_text() == "hello ENV://GREETING"
    assert (tmp_path / "out/new").read_text() == "ENV#GREETING hello"
    assert (tmp_path / "out/old.v2").stat().st_mode & 0o777 == 0o640


# ------------------------------------------------------------------------------------------------ for programs


def test_json_has_the_content_when_nothing_is_written(injector) -> None:
    report = json.loads(injector("render", "-", "--format", "json", stdin=b"ENV://GREETING \xff").stdout)
    assert report["files"][0]["encoding"] == "base64"
    report = json.loads(injector("render", "-", "--format", "json", stdin="ENV://GREETING ü".encode()).stdout)
    assert report["files"] == [{"template": "<stdin>", "tokens": 1, "content": "hello ü", "encoding": "utf-8"}]
    assert (report["schemaVersion"], report["tokens"], report["fetches"]) == (1, 1, 1)


def test_json_errors_are_one_object_a_line(injector) -> None:
    done = injector("render", "-", "--format", "json", stdin=b"ENV://NOPE\n ENV://NESTED|x")
    assert (done.returncode, done.stdout) == (4, b"")
    errors = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(e["code"], e["line"], e["column"], e["exitCode"]) for e in errors] == [
        ("value-not-found", 1, 1, 4),
        ("key-not-found", 2, 2, 4),
    ]


def test_logs_do_not_tell_values(injector) -> None:
    done = injector("render", "-", "-vv", stdin=b"ENV://DB_PASSWORD ENV://DB_PASSWORD|k")
    assert done.returncode == 4
    assert b"planned" in done.stderr
    assert b"canary" not in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_gets_no_traceback(tmp_path: Path, unbuffered: str) -> None:
    (tmp_path / "big").write_bytes(b"x" * 2_000_000)
    script = f"set -o pipefail; {INJECTOR} render big | head -c 10"
    environment = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        ["bash", "-c", script], check=False, capture_output=True, cwd=tmp_path, env=environment, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, b"x" * 10, b"")


# ---------------------------------------------------------------------------------------------------- bad input


def test_an_empty_file_is_rendered_empty(injector, tmp_path: Path) -> None:
    (tmp_path / "t").touch()
    assert injector("render", "t", "-o", "out").returncode == 0
    assert (tmp_path / "out").read_bytes() == b""


def test_a_hundred_megabytes_are_rendered(injector, tmp_path: Path) -> None:
    line = b"x" * 99 + b"\n"
    (tmp_path / "t").write_bytes(line * 1_000_000 + b"ENV://GREETING\n" + line)
    assert injector("render", "t", "-o", "out").returncode == 0
    assert (tmp_path / "out").stat().st_size == 100_000_000 + 6 + 100
    with (tmp_path / "out").open("rb") as file:
        file.seek(100_000_000)
        assert file.readline() == b"hello\n"


@pytest.mark.fault(55, "bytes outside tokens are kept")
def test_a_binary_file_survives(injector, tmp_path: Path) -> None:
    data = bytes(range(256)) * 64
    (tmp_path / "t").write_bytes(data + b"ENV://GREETING" + data)
    assert injector("render", "t").stdout == data + b"hello" + data


@pytest.mark.fault(55, "bytes outside tokens are kept")
@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfa=ENV://GREETING",
        "größe=%".encode("latin-1") + b"\nENV://GREETING\n",
        b"a=1\r\nb=ENV://GREETING\r\n\r\n",
        b"a\rENV://GREETING\rb",
        b"\x00\x01ENV://GREETING\x00\xff",
    ],
    ids=["bom", "latin-1", "crlf", "cr", "binary"],
)
def test_a_template_in_any_encoding_that_contains_ascii_keeps_its_bytes(injector, text: bytes) -> None:
    done = injector("render", "-", stdin=text)
    assert (done.returncode, done.stdout) == (0, text.replace(b"ENV://GREETING", b"hello")), done.stderr


@pytest.mark.fault(55, "UTF-16 has no tokens that are seen: the file is as it was")
def test_a_template_in_utf16_is_left_as_it_is(injector) -> None:
    text = "a=ENV://GREETING\n".encode("utf-16")
    done = injector("render", "-", stdin=text)
    assert (done.returncode, done.stdout) == (0, text)


@pytest.mark.fault(52, "an empty or blank value is a value")
@pytest.mark.parametrize("value", ["", " ", "\t\n", "\n"])
def test_an_empty_or_blank_value_is_inserted_as_it_is(injector, value: str) -> None:
    done = injector("render", "-", stdin=b"[ENV://BLANK]", env={"BLANK": value})
    assert (done.returncode, done.stdout) == (0, f"[{value}]".encode()), done.stderr


def test_a_token_that_is_not_utf8_is_an_error(injector) -> None:
    done = injector("render", "-", stdin=b"a\nENV://N\xffX")
    assert done.returncode == 3
    assert b"<stdin>:2:1" in done.stderr


def test_a_missing_input_is_an_error_and_its_name_is_not_its_content(injector, tmp_path: Path) -> None:
    done = injector("render", "nowhere.yml", "-o", "out")
    assert done.returncode == 3
    assert b"nowhere.yml" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_directory_where_a_file_is_expected(injector, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("x")
    (tmp_path / "dir").mkdir()
    done = injector("render", "t", "-o", "dir")
    assert done.returncode == 9
    assert b"directory" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_input_that_may_not_be_read_and_output_that_may_not_be_written(injector, tmp_path: Path) -> None:
    # The interpreter may lie below a home directory of mode 0700: hand the directories, not the command, away.
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(0o755)
    (tmp_path / "secret.tmpl").write_text("x")
    (tmp_path / "secret.tmpl").chmod(0o600)
    (tmp_path / "t").write_text("x")
    (tmp_path / "t").chmod(0o644)
    if subprocess.run([*NOBODY, INJECTOR, "version"], check=False, capture_output=True).returncode != 0:
        pytest.skip("another user cannot run this interpreter")
    done = injector("render", "secret.tmpl", wrap=NOBODY)
    assert (done.returncode, b"secret.tmpl" in done.stderr) == (3, True)
    done = injector("render", "t", "-o", "out", wrap=NOBODY)
    assert (done.returncode, b"out" in done.stderr) == (9, True)


def test_a_full_disk_leaves_the_old_output_whole(injector, tmp_path: Path) -> None:
    mount = tmp_path / "disk"
    mount.mkdir()
    (tmp_path / "t").write_bytes(b"y" * 300_000)
    script = (
        f'mount -t tmpfs -o size=64k tmpfs "{mount}" && echo old > "{mount}/out" && '
        f'"{INJECTOR}" render t -o "{mount}/out"; code=$?; cat "{mount}/out"; ls -A "{mount}" | wc -l; exit $code'
    )
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no mount namespaces here")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], check=False, capture_output=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 9, done.stderr
    assert done.stdout.split() == [b"old", b"1"]
    assert b"no space is left" in done.stderr.lower()


def test_a_symlink_loop_in_a_template_directory(injector, tmp_path: Path) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    (tmp_path / "in/sub/back").symlink_to(tmp_path / "in")
    (tmp_path / "in/self").symlink_to("self")
    done = injector("render", "in", "--output-dir", "out")
    assert done.returncode == 3
    assert b"back" in done.stderr
    assert b"self" in done.stderr


def test_output_may_not_leave_its_directory(injector, tmp_path: Path) -> None:
    (tmp_path / "in/conf").mkdir(parents=True)
    (tmp_path / "in/conf/x").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/conf").symlink_to(tmp_path / "elsewhere")
    done = injector("render", "in", "--output-dir", "out")
    assert (done.returncode, list((tmp_path / "elsewhere").iterdir())) == (9, [])
    assert b"conf" in done.stderr


def test_a_link_at_the_output_is_replaced_and_not_followed(injector, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("new")
    (tmp_path / "victim").write_text("victim")
    (tmp_path / "out").symlink_to("victim")
    assert injector("render", "t", "-o", "out").returncode == 0
    assert ((tmp_path / "victim").read_text(), (tmp_path / "out").is_symlink()) == ("victim", False)


def test_devices_are_written_to_and_not_replaced(injector) -> None:
    assert injector("render", "-", "-o", "/dev/stdout", "-q", stdin=b"x").stdout == b"x"
    assert Path("/dev/stdout").is_symlink()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("onMising: fail\n", b"onMissing"),
        ("onMissing: never\n", b"s.yml:3"),
        ("plugins: {callTimeout: soon}\n", b"s.yml:3"),
        ("a: [\n", b"s.yml"),
    ],
)
def test_settings_that_are_wrong_are_told_with_their_place(injector, tmp_path: Path, text: str, said: bytes) -> None:
    (tmp_path / "s.yml").write_text(f"apiVersion: config-injector.io/v1alpha1\nkind: Injector\n{text}")
    done = injector("render", "-", "--config", "s.yml")
    assert done.returncode == 3
    assert said in done.stderr
    assert b"Traceback" not in done.stderr


def test_unknown_variables_of_ours_are_told_with_the_nearest_name(injector) -> None:
    done = injector("render", "-", env={"INJECTOR_TIME_OUT": "3s"})
    assert done.returncode == 3
    assert b"INJECTOR_TIMEOUT" in done.stderr


def test_a_plugin_path_that_does_not_exist(injector, tmp_path: Path) -> None:
    done = injector("render", "-", "--plugin-path", "nowhere", stdin=b"x")
    assert done.returncode == 3
    assert b"nowhere" in done.stderr


def test_a_known_prefix_without_plugin_tells_where_it_was_looked_for(injector, tmp_path: Path) -> None:
    done = injector("render", "-", stdin=b"VAULT://secret___x UNKNOWN://y")
    assert done.returncode == 7
    assert b"<stdin>:1:1" in done.stderr
    assert str(tmp_path / ".configmanager/plugins").encode() in done.stderr
    assert b"UNKNOWN" not in done.stderr.split(b"\n")[0]


# ------------------------------------------------------------------------------------------- terminal and signals


def test_an_interrupt_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "pipe").touch()
    plugin = tmp_path / "plugins/slow/slow-linux-amd64"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 300\n")
    plugin.chmod(0o755)
    (tmp_path / "t").write_text("SLOW://x")
    for number, expected in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        (tmp_path / "pid").unlink(missing_ok=True)
        command = [INJECTOR, "render", "t", "-o", "out", "--plugin-path", "plugins"]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, env={"PATH": os.environ["PATH"]})
        eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == expected, errors
        assert b"Traceback" not in errors
        pid = int((tmp_path / "pid").read_text())
        assert not Path(f"/proc/{pid}").exists()
    assert not (tmp_path / "out").exists()
    assert leftovers(tmp_path) == []


def test_work_that_takes_longer_than_a_second_shows_progress_on_a_terminal_only(tmp_path: Path) -> None:
    plugin = tmp_path / "plugins/slow/slow-linux-amd64"
    plugin.parent.mkdir(parents=True)
    plugin.write_text("#!/bin/sh\nexec sleep 300\n")
    plugin.chmod(0o755)
    (tmp_path / "t").write_text("SLOW://x")
    command = [INJECTOR, "render", "t", "--plugin-path", "plugins", "--timeout", "90s"]
    environment = {"PATH": os.environ["PATH"], "INJECTOR_PLUGIN_START_TIMEOUT": "3s"}
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=secondary,
        stdout=subprocess.DEVNULL,
        env=environment | {"TERM": "xterm"},
    )
    os.close(secondary)
    shown = b""
    try:
        while chunk := os.read(primary, 65536):
            shown += chunk
    except OSError:
        pass  # the terminal's other end is closed: Linux says EIO
    os.close(primary)
    assert process.wait(PATIENCE) == 7
    assert b"sent no handshake within 3 s" in shown
    assert str(plugin).encode() in shown
    assert b"resolving" in shown
    piped = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, env=environment, timeout=PATIENCE)
    assert b"resolving" not in piped.stderr
