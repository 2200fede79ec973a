"""`injector diff`, as a user runs it: what is told of each format, and that no value is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

INJECTOR = Path(sys.executable).with_name("injector")
OLD = {"a": "canary-alpha-1", "b": "canary-beta-1", "k": "canary-key-1"}


def values(**changed: str) -> str:
    return "".join(f'"AWSPARAMSTR:///{name}": "{value}"\n' for name, value in {**OLD, **changed}.items())


@pytest.fixture
def run(tmp_path: Path):
    """Runs the command; whatever it prints, no value and no part of one is in it."""
    (tmp_path / "t").mkdir()

    def run(*arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "values.yaml").write_text(values(**changed))
        done = subprocess.run(
            [INJECTOR, *arguments, "--values", "values.yaml"],
            check=False,
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"]},
            cwd=tmp_path,
            timeout=100,
        )
        assert "Traceback" not in done.stderr
        if arguments[0] == "diff":
            assert "canary" not in done.stdout + done.stderr
        return done

    return run


def differences(run, *arguments: str, **changed: str) -> dict:
    done = run("diff", "t", "--output-dir", "o", "--format", "json", *arguments, **changed)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def of_file(run, tmp_path: Path, name: str, template: str, new_template: str | None = None, **changed: str) -> dict:
    """What is told of the file *name* after *changed* values (or a changed template)."""
    (tmp_path / "t" / name).write_text(template)
    assert run("render", "t", "--output-dir", "o").returncode == 0
    if new_template is not None:
        (tmp_path / "t" / name).write_text(new_template)
    (file,) = differences(run, **changed)["files"]
    return file


FORMATS = [
    ("app.json", '{"db": {"pw": "AWSPARAMSTR:///a", "n": [1, "AWSPARAMSTR:///b"]}}', "db.pw", "db.n[1]"),
    ("app.yml", "db:\n  pw: AWSPARAMSTR:///a\n  n:\n    - x\n    - 'AWSPARAMSTR:///b'\n", "db.pw", "db.n[1]"),
    ("app.toml", '[db]\npw = "AWSPARAMSTR:///a"\nn = [1, "AWSPARAMSTR:///b"]\n', "db.pw", "db.n[1]"),
    ("app.properties", "db.pw=AWSPARAMSTR:///a\ndb.b : x AWSPARAMSTR:///b\n", "db.pw", "db.b"),
    ("app.env", "PW=AWSPARAMSTR:///a\nexport B='AWSPARAMSTR:///b'\n", "PW", "B"),
    ("app.ini", "[db]\npw = AWSPARAMSTR:///a\n[x]\nb = AWSPARAMSTR:///b\n", "db.pw", "x.b"),
    ("app.xml", '<a><b p="AWSPARAMSTR:///a"/><c/><b>AWSPARAMSTR:///b</b></a>', "/a/b[1]/@p", "/a/b[2]/text()"),
]


@pytest.mark.parametrize(("name", "template", "first", "second"), FORMATS, ids=[row[0] for row in FORMATS])
def test_a_changed_value_is_told_by_its_path_and_as_hashes_with_lengths(
    run, tmp_path: Path, name: str, template: str, first: str, second: str
) -> None:
    file = of_file(run, tmp_path, name, template, b="canary-alpha-1")
    assert file["state"] == "changed"
    assert [(change["change"], change["path"]) for change in file["changes"]] == [("changed", second)]
    (file,) = differences(run, a="canary-beta-1", b="canary-alpha-1")["files"]
    one, two = file["changes"]
    assert (one["path"], two["path"]) == (first, second)
    if "x AWS" not in template:
        assert one["before"]["hash"] == two["after"]["hash"] != two["before"]["hash"] == one["after"]["hash"]
        assert (one["before"]["bytes"], one["after"]["bytes"]) == (14, 13)


@pytest.mark.parametrize(
    ("name", "template", "again"),
    [
        ("app.json", '{"a": "AWSPARAMSTR:///a", "b": 1}', '{\n "b" : 1,\n "a" : "AWSPARAMSTR:///a"\n}\n'),
        ("app.yml", "a: AWSPARAMSTR:///a\n", "# AWSPARAMSTR:///b\n\na:   'AWSPARAMSTR:///a'\n"),
        ("app.toml", "a = 'AWSPARAMSTR:///a'\n", '# x\na   = "AWSPARAMSTR:///a"\n'),
        ("app.properties", "a=AWSPARAMSTR:///a\n", "! x\na : AWSPARAMSTR:///a\n"),
        ("app.env", "A=AWSPARAMSTR:///a\n", "# x\nA='AWSPARAMSTR:///a'\n"),
        ("app.ini", "[s]\na=AWSPARAMSTR:///a\n", "[s]\n; x\na : AWSPARAMSTR:///a\n"),
        ("app.xml", '<a b="AWSPARAMSTR:///a"/>', "<a\n b = 'AWSPARAMSTR:///a'>\n</a><!-- AWSPARAMSTR:///b -->"),
    ],
)
def test_what_every_reader_finds_the_same_is_formatting_only(
    run, tmp_path: Path, name: str, template: str, again: str
) -> None:
    file = of_file(run, tmp_path, name, template, again)
    assert (file["state"], file["changes"]) == ("formatting", [])


def test_names_that_came_and_went_are_told(run, tmp_path: Path) -> None:
    file = of_file(run, tmp_path, "a.yml", "x: {gone: AWSPARAMSTR:///a, s: 1}\n", "x: {s: '1'}\nnew.one: [1, 2]\n")
    assert [(change["change"], change["path"]) for change in file["changes"]] == [
        ("changed", "x.s"),
        ("removed", "x.gone"),
        ("added", '"new.one"'),
    ]
    kind = file["changes"][0]
    assert (kind["before"]["kind"], kind["after"]["kind"]) == ("plain", "text")
    assert file["changes"][2]["after"]["entries"] == 2


def test_names_that_are_values_are_not_shown_old_ones_neither(run, tmp_path: Path) -> None:
    file = of_file(run, tmp_path, "a.json", '{"fix": 1, "AWSPARAMSTR:///k": 2}', k="canary-key-2")
    assert [change["change"] for change in file["changes"]] == ["added", "removed"]
    assert all(change["path"].startswith("<sha256:") for change in file["changes"])


def test_the_members_of_a_value_that_is_an_object_are_not_named(run, tmp_path: Path) -> None:
    (tmp_path / "t" / "a.json").write_text('{"x": AWSPARAMSTR:///a}')
    old, new = (f'{{\\"canary-name-{number}\\": 1, \\"x\\": {number}}}' for number in (1, 2))
    assert run("render", "t", "--output-dir", "o", a=old).returncode == 0
    (file,) = differences(run, a=new)["files"]
    assert [change["change"] for change in file["changes"]] == ["added", "changed", "removed"]


def test_an_entry_put_into_a_list_is_one_change(run, tmp_path: Path) -> None:
    file = of_file(run, tmp_path, "a.yml", "- {n: a}\n- {n: b}\n", "- {n: 0}\n- {n: a}\n- {n: b}\n")
    assert [(change["change"], change["path"]) for change in file["changes"]] == [("added", "[0]")]


def test_documents_and_names_that_are_there_twice_are_told_apart(run, tmp_path: Path) -> None:
    file = of_file(run, tmp_path, "a.yml", "a: 1\n---\nb: AWSPARAMSTR:///a\n", a="canary-other")
    assert file["changes"][0]["path"] == "document[1].b"
    (tmp_path / "t" / "a.yml").unlink()
    (tmp_path / "o" / "a.yml").unlink()
    file = of_file(run, tmp_path, "a.properties", "a=AWSPARAMSTR:///b\na=AWSPARAMSTR:///a\n", a="canary-other")
    assert file["changes"][0]["path"] == "a#2"


def test_a_plain_file_with_another_value_is_told_by_its_token(run, tmp_path: Path) -> None:
    file = of_file(run, tmp_path, "a.conf", "x = AWSPARAMSTR:///a;\ny = 2\n", a="canary\\nof two lines")
    (change,) = file["changes"]
    assert (change["token"], change["line"], change["column"]) == ("AWSPARAMSTR:///a", 1, 5)
    assert (change["before"]["bytes"], change["after"]["bytes"]) == (14, 19)


def test_a_plain_file_with_another_text_is_told_by_lines_of_which_only_the_templates_own_text_is_shown(
    run, tmp_path: Path
) -> None:
    new = "x = AWSPARAMSTR:///a;\nz = 3\nlast\n"
    file = of_file(run, tmp_path, "a.conf", "x = AWSPARAMSTR:///a;\ncanary here\nlast\n", new, a="canary-rotated")
    assert file["comparedBy"] == "lines"
    lines = [(change["change"], change["line"], change["text"]) for change in file["changes"]]
    assert lines[0][:2] == ("removed", 1)
    assert lines[0][2].startswith("x = <sha256:")
    assert lines[0][2].endswith(" (14 bytes)>;")
    assert lines[1][2].startswith("<sha256:")
    assert lines[3] == ("added", 2, "z = 3")
    assert not any("last" in text for _, _, text in lines)


def test_an_old_file_that_cannot_be_parsed_is_compared_line_by_line(run, tmp_path: Path) -> None:
    (tmp_path / "t" / "a.json").write_text('{"a": "AWSPARAMSTR:///a"}\n')
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "a.json").write_text('{"a": "canary-alpha-0",}\n')
    (file,) = differences(run)["files"]
    assert file["comparedBy"] == "lines"
    assert [change["change"] for change in file["changes"]] == ["removed", "added"]


def test_bytes_that_are_no_text_are_told_as_a_range(run, tmp_path: Path) -> None:
    (tmp_path / "t" / "a.bin").write_bytes(b"\xff\x00AWSPARAMSTR:///a \xfe")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "a.bin").write_bytes(b"\xff\x00old \xfe")
    (file,) = differences(run)["files"]
    (change,) = file["changes"]
    assert (file["comparedBy"], change["bytes"], change["before"]["bytes"]) == ("bytes", "2-15", 3)


def test_new_files_gone_ones_and_other_modes_are_told_and_nothing_is_written(run, tmp_path: Path) -> None:
    for name in ("same.conf", "mode.conf", "new.conf"):
        (tmp_path / "t" / name).write_text("AWSPARAMSTR:///a\n")
    assert run("render", "t", "--output-dir", "o").returncode == 0
    (tmp_path / "o" / "new.conf").unlink()
    (tmp_path / "o" / "mode.conf").chmod(0o644)
    (tmp_path / "o" / "left").mkdir()
    (tmp_path / "o" / "left" / "gone.conf").write_text("canary")
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.joinpath("o").rglob("*"))
    states = {file["output"]: file["state"] for file in differences(run)["files"]}
    assert states == {"o/mode.conf": "mode", "o/new.conf": "new", "o/same.conf": "same"}
    answer = differences(run, "--prune")
    assert answer["files"][-1] == {"output": "o/left/gone.conf", "state": "removed"}
    assert answer["files"][0]["mode"] == {"before": "0644", "after": "0600"}
    assert before == sorted((path, path.stat().st_mtime_ns) for path in tmp_path.joinpath("o").rglob("*"))


def test_of_a_set_whatever_is_not_in_the_new_one_is_told_as_removed(run, tmp_path: Path) -> None:
    (tmp_path / "t" / "d").mkdir()
    for name in ("a.conf", "d/b.conf", "d/c.conf"):
        (tmp_path / "t" / name).write_text("AWSPARAMSTR:///a\n")
    assert run("render", "t", "--output-dir", "o", "--write", "set").returncode == 0
    (tmp_path / "t" / "d" / "b.conf").unlink()
    states = {file["output"]: file["state"] for file in differences(run, "--write", "set")["files"]}
    assert states == {"o/a.conf": "same", "o/d/c.conf": "same", "o/d/b.conf": "removed"}


def test_the_exit_code_tells_of_changes_only_when_it_is_asked_to(run, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("a: AWSPARAMSTR:///a\n")
    assert run("render", "a.yml", "-o", "out.yml").returncode == 0
    done = run("diff", "a.yml", "-o", "out.yml", "--exit-code")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "1 file: 1 the same\n")
    done = run("diff", "a.yml", "-o", "out.yml", "--exit-code", a="canary-other")
    assert (done.returncode, done.stderr) == (1, "1 file: 1 changed\n")
    head, line = done.stdout.splitlines()
    assert head == "~ out.yml: 1 change, as yaml"
    assert line.startswith("    ~ a: sha256:")
    assert run("diff", "a.yml", "-o", "out.yml", a="canary-other").returncode == 0


def test_errors_are_those_of_a_render_and_two_or_more(run, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("a: AWSPARAMSTR:///not-there\n")
    assert run("diff", "a.yml", "-o", "out.yml", "--exit-code").returncode == 4
    done = run("diff", "a.yml", "--exit-code")
    assert (done.returncode, "-o FILE or --output-dir DIR" in done.stderr) == (2, True)
    (tmp_path / "a.yml").write_text("a: 1\n")
    done = run("diff", "a.yml", "-o", "t", "--exit-code")
    assert (done.returncode, "t: a directory has that name" in done.stderr) == (9, True)


def test_hashes_differ_from_run_to_run(run, tmp_path: Path) -> None:
    first = of_file(run, tmp_path, "a.yml", "a: AWSPARAMSTR:///a\n", a="canary-other")
    (second,) = differences(run, a="canary-other")["files"]
    assert first["changes"][0]["after"]["hash"] != second["changes"][0]["after"]["hash"]


def test_what_envsubst_put_in_is_not_shown_either(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t" / "a.conf").write_text("x ${NOT_SET:-default}\nAWSPARAMSTR:///a\n")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "a.conf").write_text("old\n\n\n")
    (file,) = differences(run, "--envsubst")["files"]
    assert all("default" not in change["text"] for change in file["changes"])
