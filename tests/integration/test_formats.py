"""`injector render` of config files with hostile secrets, and check commands, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.hostile_secrets import FORMATS, TEMPLATES, differences, secrets

INJECTOR = Path(sys.executable).with_name("injector")
HEAD = "apiVersion: config-injector.io/v1alpha1\nkind: Injector\n"


@pytest.fixture
def injector(tmp_path: Path):
    """Runs the command in an empty directory with a small environment."""

    def run(*arguments: str | Path, **env: str):
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path / "tmp"), **env}
        (tmp_path / "tmp").mkdir(exist_ok=True)
        return subprocess.run(
            [INJECTOR, *arguments], check=False, capture_output=True, env=environment, cwd=tmp_path, timeout=110
        )

    return run


def settings(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.yml"
    path.write_text(HEAD + text)
    return path


# ------------------------------------------------------------------------------------------------------ hostile secrets


def test_hostile_secrets_reach_files_of_every_format_in_one_run(injector, tmp_path: Path) -> None:
    chosen = ["it's", 'a"b', "a\\'b"]
    chosen += ["a: b", "a #b", "yes", "012", "1e5", "5432", "null", "{{ x }}", "$(id)", "]]>"]
    chosen += ["<a>", "%%", "two lines and a break", "JSON on lines", "empty", "trailing blank", "😀", "PEM", "---"]
    known = secrets()
    for number, name in enumerate(chosen):
        (tmp_path / "values").mkdir(exist_ok=True)
        (tmp_path / f"values/{number}").write_bytes(known[name])
        for file_format, (template, _, _) in FORMATS.items():
            path = tmp_path / f"in/{file_format}/{number}" / template
            path.parent.mkdir(parents=True, exist_ok=True)
            value = f"FILE://{tmp_path}/values/{number}".encode()
            path.write_bytes((TEMPLATES / template).read_bytes().replace(b"FILE://secret", value))
    overrides = "files:\n" + "".join(
        f"- {{match: '{template}', format: {file_format}}}\n" for file_format, (template, _, _) in FORMATS.items()
    )
    config = settings(tmp_path, overrides)
    done = injector("render", "in", "--output-dir", "out", "--config", config, "--format", "json")
    # What some format cannot hold is told at once, each with its place; nothing is written then.
    assert done.returncode == 8
    assert not (tmp_path / "out").exists()
    refused = {json.loads(line)["file"] for line in done.stderr.splitlines()}
    assert {name.split("/")[-3] for name in refused} <= {"ini", "docker-env", "kubelet-env", "dotenv"}
    for name in refused:
        Path(tmp_path / name).unlink()
    done = injector("render", "in", "--output-dir", "out", "--config", config)
    assert done.returncode == 0, done.stderr
    read = 0
    for file_format, (template, _, _) in FORMATS.items():
        for number, name in enumerate(chosen):
            path = tmp_path / f"out/{file_format}/{number}/{template}"
            if path.exists():
                assert list(differences(file_format, known[name], path.read_bytes())) == [], (file_format, name)
                read += 1
    assert read + len(refused) == len(chosen) * len(FORMATS)


def test_the_place_and_the_remedy_are_told(injector, tmp_path: Path) -> None:
    (tmp_path / "app.ini").write_text("[a]\nb = ENV://SECRET\n")
    done = injector("render", "app.ini", "-o", "out.ini", SECRET="canary%canary")
    assert done.returncode == 8
    assert b"app.ini:2:5: error: INI has no spelling for this value" in done.stderr
    assert b"[value-unfit]" in done.stderr
    assert b"canary" not in done.stderr
    assert not (tmp_path / "out.ini").exists()


def test_a_template_that_is_not_of_its_format_says_where_and_what_to_do(injector, tmp_path: Path) -> None:
    (tmp_path / "chart.yaml").write_text("a: ENV://SECRET\n{{- if .Values.x }}\nb: 1\n{{- end }}\n")
    done = injector("render", "chart.yaml", "-o", "out.yaml", SECRET="x")
    assert done.returncode == 3
    assert b"chart.yaml:3:1: error: this is not YAML" in done.stderr
    assert b"format: plain" in done.stderr
    done = injector("render", "chart.yaml", "-o", "out.yaml", "--file-format", "plain", SECRET="x")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.yaml").read_text().startswith("a: x\n{{- if")


def test_raw_is_always_possible(injector, tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text("a: ENV://SECRET[format=raw]\nc: ENV://SECRET\n")
    done = injector("render", "app.yaml", SECRET="{b: [1]}")
    assert done.stdout == b'a: {b: [1]}\nc: "{b: [1]}"\n'
    done = injector("render", "app.yaml", "--escape", "raw", SECRET="{b: [1]}")
    assert done.stdout == b"a: {b: [1]}\nc: {b: [1]}\n"


def test_bytes_that_are_no_text_come_through_a_whole_file_token_and_as_base64(injector, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\x00\xfe")
    (tmp_path / "store.p12").write_text("FILE://key\n")
    (tmp_path / "app.json").write_text('{"a": "FILE://key[encoding=base64]", "b": "FILE://key[encoding=hex]"}')
    assert injector("render", "store.p12").stdout == b"\xff\x00\xfe"
    assert json.loads(injector("render", "app.json").stdout) == {"a": "/wD+", "b": "ff00fe"}
    (tmp_path / "plain").write_text("x FILE://key[encoding=utf8]")
    done = injector("render", "plain")
    assert done.returncode == 8
    assert b"plain:1:3" in done.stderr


# ------------------------------------------------------------------------------------------------------- check commands


def checked(tmp_path: Path, script: str, more: str = "") -> Path:
    program = tmp_path / "checker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return settings(tmp_path, f"check: ['{program}', -c, '{{file}}']\n{more}")


def test_a_check_command_sees_the_final_file_under_its_name_and_nobody_else_does(injector, tmp_path: Path) -> None:
    (tmp_path / "app.conf.tmpl").write_text("pw ENV://SECRET\n")
    script = f'cat "$2" > {tmp_path}/seen; stat -c "%a %n" "$2" "$(dirname "$2")" > {tmp_path}/modes'
    config = checked(tmp_path, script)
    done = injector("render", "app.conf.tmpl", "--output-dir", "out", "--config", config, SECRET="canary")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seen").read_text() == "pw canary\n"
    modes = [line.split() for line in (tmp_path / "modes").read_text().splitlines()]
    assert [mode for mode, _ in modes] == ["600", "700"]
    assert modes[0][1].endswith("/app.conf")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_refusal_keeps_every_old_file_and_shows_the_output_without_the_secret(injector, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / f"in/{name}.conf").write_text("pw ENV://SECRET|password\n")
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / f"out/{name}.conf").write_text("old")
    config = checked(tmp_path, 'case "$2" in */b.conf) echo "line 1: bad: $(cat "$2")" >&2; exit 3;; esac')
    done = injector("render", "in", "--output-dir", "out", "--config", config, SECRET='{"password": "canary-7"}')
    assert done.returncode == 8
    assert b"in/b.conf: the check command" in done.stderr
    assert b"(exit code 3); it said: line 1: bad: pw ***" in done.stderr
    assert b"[check-failed]" in done.stderr
    assert b"canary" not in done.stderr
    assert [(tmp_path / f"out/{name}.conf").read_text() for name in ("a", "b")] == ["old", "old"]


def test_a_line_of_a_secret_that_a_check_prints_is_hidden(injector, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text("ENV://SECRET\n")
    config = checked(tmp_path, 'head -n 2 "$2" | tail -n 1; exit 1')
    done = injector("render", "app.conf", "-o", "out", "--config", config, SECRET="first-line\ncanary-line\nthird-line")
    assert done.returncode == 8
    assert b"it said: ***" in done.stderr


@pytest.mark.parametrize("name", ["app.xml", "app.sh", "app.yaml", "app.properties"])
def test_a_secret_is_hidden_as_it_is_spelled_in_the_file_too(injector, tmp_path: Path, name: str) -> None:
    text = {"app.xml": "<a>ENV://SECRET</a>", "app.yaml": "a: ENV://SECRET"}.get(name, "a=ENV://SECRET")
    (tmp_path / name).write_text(text)
    config = checked(tmp_path, 'cat "$2"; exit 1')
    done = injector("render", name, "--output-dir", "out", "--config", config, SECRET="canary'<&é\": canary # canary")
    assert done.returncode == 8
    assert b"it said: " in done.stderr
    assert b"canary" not in done.stderr


def test_a_check_that_hangs_is_ended_with_all_that_it_started(injector, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text("ENV://SECRET\n")
    script = f"sleep 300 & echo $! > {tmp_path}/child; echo waiting; wait"
    config = checked(tmp_path, script, "checkTimeout: 2s\n")
    done = injector("render", "app.conf", "-o", "out", "--config", config, SECRET="x")
    assert done.returncode == 8
    assert b"did not end within 2 s; it said: waiting" in done.stderr
    assert not (tmp_path / "out").exists()
    child = int((tmp_path / "child").read_text())
    status = Path(f"/proc/{child}/stat")
    assert not status.exists() or ") Z " in status.read_text()


@pytest.mark.parametrize("command", ["[/nowhere/at/all, '{file}']", "[./checker, '{file}']"])
def test_a_check_that_cannot_be_run_is_a_failed_check(injector, tmp_path: Path, command: str) -> None:
    (tmp_path / "checker").write_text("not executable")
    (tmp_path / "app.conf").write_text("ENV://SECRET\n")
    config = settings(tmp_path, f"files: [{{match: '*.conf', check: {command}}}]\n")
    done = injector("render", "app.conf", "-o", "out", "--config", config, SECRET="x")
    assert done.returncode == 8
    assert b"cannot be run" in done.stderr
    assert not (tmp_path / "out").exists()


def test_endless_output_of_a_check_is_cut(injector, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text("ENV://SECRET\n")
    config = checked(tmp_path, "yes abcdefg | head -c 3000000; exit 1")
    done = injector("render", "app.conf", "-o", "out", "--config", config, SECRET="x")
    assert done.returncode == 8
    assert len(done.stderr) < 5000


@pytest.mark.parametrize(
    "text", ["check: maybe\n", "check: []\n", "check: [nginx, -t]\n", "check: 'nginx -t {file}'\n"]
)
def test_what_is_no_check_is_refused_in_the_settings(injector, tmp_path: Path, text: str) -> None:
    (tmp_path / "app.conf").write_text("x\n")
    done = injector("render", "app.conf", "--config", settings(tmp_path, text))
    assert done.returncode == 3
    assert b"settings.yml:3:" in done.stderr
