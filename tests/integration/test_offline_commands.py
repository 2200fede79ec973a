"""`check`, `explain`, `plan`, `iam-policy` and values that stand in for stores, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

INJECTOR = Path(sys.executable).with_name("injector")

TEMPLATE = """\
user: AWSPARAMSTR:///shop/db|user
password: AWSPARAMSTR:///shop/db|password
key: AWSPARAMSTR:///shop/key[version=3]
home: ENV://HOME
"""
VALUES = """\
"AWSPARAMSTR:///shop/db": {user: shop, password: "canary-it's", port: 5432}
"AWSPARAMSTR:///shop/key": !!binary Y2FuYXJ5LWtleQ==
"DEMO:///x": 0600
"""


@pytest.fixture
def run(tmp_path: Path):
    """Runs the command in an empty directory; without credentials, and with no store to be reached."""
    (tmp_path / "app.yml").write_text(TEMPLATE)
    (tmp_path / "values.yaml").write_text(VALUES)

    def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": "/home/ada", **(env or {})}
        return subprocess.run(
            [INJECTOR, *arguments],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            timeout=100,
        )

    return run


# ------------------------------------------------------------------------------------------------------------- check


def test_templates_without_a_fault_pass(run) -> None:
    done = run("check", "app.yml")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "1 template, 4 tokens: no errors\n"


def test_every_fault_of_every_template_is_told_at_once(run, tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("x = AWSPARAMSTR:///a[]\ny = VAULT:///m___p\n")
    (tmp_path / "b.conf").write_text("x = AWSPARAMSTORE:///a\n")
    (tmp_path / "c.conf").write_text("AWSPARAMSTR:///a|\n")
    done = run("check", "a.conf", "b.conf", "c.conf", "app.yml")
    assert done.returncode == 3
    assert "a.conf:1:5: error: the metadata is empty" in done.stderr
    assert "c.conf:1:1: error:" in done.stderr
    assert "b.conf:1:5: warning: AWSPARAMSTORE is no token prefix" in done.stderr
    assert "did you mean AWSPARAMSTR://…?" in done.stderr


def test_a_missing_plugin_is_told_at_each_of_its_tokens(run, tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("y = VAULT:///m___p\nz = VAULT:///m___q\n")
    done = run("check", "--format", "json", "a.conf")
    assert done.returncode == 7
    answer = json.loads(done.stdout)
    assert [(error["code"], error["line"]) for error in answer["errors"]] == [
        ("plugin-not-found", 1),
        ("plugin-not-found", 2),
    ]
    assert (answer["schemaVersion"], answer["templates"], answer["tokens"]) == (1, 1, 2)


def test_with_values_no_plugin_is_missing(run, tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("y = VAULT:///m___p and DEMO:///x\n")
    assert run("check", "--values", "values.yaml", "a.conf").returncode == 0


def test_a_warning_counts_when_it_is_asked_to(run, tmp_path: Path) -> None:
    (tmp_path / "b.conf").write_text("x = awsparamstr:///a, https://AWSPARAMSTR.example, file:///x, vaults\n")
    assert run("check", "b.conf").returncode == 0
    done = run("check", "--strict", "b.conf")
    assert done.returncode == 3
    assert done.stderr.count("warning:") == 1


def test_annotations_for_github_name_file_line_and_column_and_keep_to_one_line(run, tmp_path: Path) -> None:
    (tmp_path / "a,b.conf").write_text("x = AWSPARAMSTR:///a[]\n")
    done = run("check", "--format", "github", "a,b.conf")
    assert done.returncode == 3
    (line,) = done.stdout.splitlines()
    assert line.startswith("::error file=a%2Cb.conf,line=1,col=5,title=token-metadata-invalid::the metadata is empty")


def test_a_missing_file_is_an_error_with_its_name(run) -> None:
    done = run("check", "nothing.yml")
    assert done.returncode == 3
    assert "nothing.yml does not exist" in done.stderr


# ----------------------------------------------------------------------------------------------------------- explain


def test_each_token_is_explained(run) -> None:
    done = run("explain", "--format", "json", "app.yml")
    assert done.returncode == 0, done.stderr
    first, _, third, last = json.loads(done.stdout)["tokens"]
    assert (first["file"], first["line"], first["column"], first["keys"]) == ("app.yml", 1, 7, "user")
    assert first["backend"]["kind"] == "distribution"
    assert first["permission"]["resource"] == "arn:aws:ssm:*:*:parameter/shop/db"
    assert first["onMissing"] == "fail"
    assert third["metadata"] == "version=3"
    assert last["backend"] == {
        "kind": "builtin",
        "name": "ENV (built in)",
        "reason": "built-in prefixes cannot be taken over",
    }


def test_a_plugin_that_is_missing_is_explained_and_then_an_error(run, tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("y = VAULT:///m___p[default=x]\n")
    done = run("explain", "a.conf")
    assert done.returncode == 7
    assert "answered by  nobody: plugin vault is not installed" in done.stdout
    assert "a default is written (said by the token)" in done.stdout
    assert "needs        vault: read on m/data/p" in done.stdout


def test_an_explanation_for_people_has_its_place_and_what_it_asks_for(run) -> None:
    done = run("explain", "app.yml")
    assert "app.yml:1:7  AWSPARAMSTR:///shop/db|user\n" in done.stdout
    assert "asks for     AWSPARAMSTR /shop/db, and takes user of it" in done.stdout


# -------------------------------------------------------------------------------------------------------------- plan


def test_the_plan_counts_batches_as_the_plugin_takes_them(run, tmp_path: Path) -> None:
    (tmp_path / "many.conf").write_text(
        "".join(f"k{n} = AWSPARAMSTR:///p/{n} AWSPARAMSTR:///p/{n}|a\n" for n in range(25))
    )
    done = run("plan", "--format", "json", "--replicas", "100", "--refresh", "1m", "many.conf")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    (backend,) = answer["backends"]
    assert (answer["tokens"], backend["references"], backend["batch"], backend["calls"]) == (50, 25, 10, 3)
    assert backend["callsPerHour"] == 3 * 100 * 60
    assert backend["startSeconds"] == 7.5
    assert backend["quotaShare"] == 0.125


def test_without_starting_plugins_a_call_is_counted_for_each_reference(run) -> None:
    answer = json.loads(run("plan", "--format", "json", "--no-start-plugins", "app.yml").stdout)
    assert [backend["calls"] for backend in answer["backends"]] == [2, 1]


def test_the_plan_for_people_is_a_table(run) -> None:
    done = run("plan", "app.yml")
    assert done.stdout.startswith("4 tokens, 3 references, 2 calls for one render\n")
    assert "AWS Systems Manager Parameter Store takes 40 calls/s" in done.stdout


# -------------------------------------------------------------------------------------------------------- iam-policy


def test_the_least_policy_is_printed_for_the_only_provider(run) -> None:
    done = run("iam-policy", "--region", "eu-west-1", "--account", "1", "app.yml")
    assert done.returncode == 0, done.stderr
    (statement,) = json.loads(done.stdout)["Statement"]
    assert statement["Resource"] == [
        "arn:aws:ssm:eu-west-1:1:parameter/shop/db",
        "arn:aws:ssm:eu-west-1:1:parameter/shop/key",
    ]


def test_with_several_providers_one_must_be_chosen(run, tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("y = VAULT:///m___p DEMO:///x AWSPARAMSTR:///a\n")
    done = run("iam-policy", "--values", "values.yaml", "a.conf")
    assert done.returncode == 2
    assert "the templates use aws, vault" in done.stderr
    assert "not known what these need: DEMO" in done.stderr
    done = run("iam-policy", "--provider", "vault", "--values", "values.yaml", "a.conf")
    assert done.stdout == 'path "m/data/p" {\n  capabilities = ["read"]\n}\n'


# ----------------------------------------------------------------------------------------- values instead of stores


def test_values_of_a_file_stand_in_for_stores_and_plugins(run, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("DEMO:///x ENV://HOME AWSPARAMSTR:///shop/db|port")
    done = run("render", "--values", "values.yaml", "b.txt")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0600 /home/ada 5432", "")
    done = run("render", "--values", "values.yaml", "app.yml")
    assert "canary-it" in done.stdout
    assert "key: canary-key\n" in done.stdout


def test_a_value_that_the_file_lacks_is_missing_like_in_a_store(run, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("VAULT:///m___p")
    done = run("render", "--values", "values.yaml", "b.txt")
    assert done.returncode == 4
    assert "values.yaml has no value for VAULT /m___p" in done.stderr


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("- a\n", "1:1", "expected a mapping of tokens to values"),
        ('"AWSPARAMSTR:///a": x\n"nonsense": y\n', "2:1", "this is no token"),
        ('"AWSPARAMSTR:///a|key": x\n', "1:1", "without a key path"),
        ('"AWSPARAMSTR:///a": !!binary "canary!"\n', "1:21", "this is not base64"),
        ('"AWSPARAMSTR:///a": {x: 0600}\n', "1:25", "neither a text"),
        ('"AWSPARAMSTR:///a": {x: \n', "2:1", "not valid YAML"),
    ],
)
def test_a_faulty_file_of_values_is_told_with_its_place_and_without_its_values(
    run, tmp_path: Path, text: str, place: str, message: str
) -> None:
    (tmp_path / "values.yaml").write_text(text)
    done = run("render", "--values", "values.yaml", "app.yml")
    assert done.returncode == 3
    assert f"values.yaml:{place}: error:" in done.stderr
    assert message in done.stderr
    assert "canary" not in done.stderr


def test_a_recorded_render_is_replayed_where_there_is_no_store(run, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("home=ENV://HOME gone=ENV://NOT_THERE[optional=true]")
    key = ("--recording-key", "key")
    done = run("render", "--record", "values.sealed", *key, "b.txt")
    assert (done.returncode, done.stdout) == (0, "home=/home/ada gone=")
    for name in ("values.sealed", "key"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert b"/home/ada" not in (tmp_path / "values.sealed").read_bytes()
    done = run("render", "--replay", "values.sealed", *key, "b.txt", env={"HOME": "/elsewhere"})
    assert (done.returncode, done.stdout) == (0, "home=/home/ada gone=")


def test_a_changed_or_cut_recording_or_another_key_does_not_open(run, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("ENV://HOME")
    key = ("--recording-key", "key")
    assert run("render", "--record", "kept", *key, "b.txt").returncode == 0
    whole = (tmp_path / "kept").read_bytes()
    for at in (0, 5, 20, len(whole) - 1):
        (tmp_path / "kept").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        done = run("render", "--replay", "kept", *key, "b.txt")
        assert (done.returncode, done.stdout) == (3, "")
        assert "seal" in done.stderr
    (tmp_path / "kept").write_bytes(whole[:-3])
    assert run("render", "--replay", "kept", *key, "b.txt").returncode == 3
    (tmp_path / "kept").write_bytes(whole)
    (tmp_path / "key").unlink()
    assert "cannot be read" in run("render", "--replay", "kept", *key, "b.txt").stderr
    assert run("render", "--record", "other", *key, "b.txt").returncode == 0
    assert "does not open" in run("render", "--replay", "kept", *key, "b.txt").stderr


def test_a_key_that_others_may_read_is_refused(run, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("ENV://HOME")
    run("render", "--record", "kept", "--recording-key", "key", "b.txt")
    (tmp_path / "key").chmod(0o644)
    done = run("render", "--replay", "kept", "--recording-key", "key", "b.txt")
    assert done.returncode == 3
    assert "chmod 600 key" in done.stderr


def test_one_source_of_values_at_a_time(run) -> None:
    done = run("render", "--values", "values.yaml", "--replay", "kept", "app.yml")
    assert done.returncode == 2
    assert "--values, --record and --replay exclude each other" in done.stderr
    assert run("render", "--record", "kept", "app.yml").returncode == 2
