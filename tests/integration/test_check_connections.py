"""`check` and `explain` look whether the connections of tokens are there, without opening any of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from connection_texts import secrets

from injector.connections.store import ConnectionStore

INJECTOR = Path(sys.executable).with_name("injector")


@pytest.fixture
def store(tmp_path: Path) -> ConnectionStore:
    """Three connections at the user's own place; the master key is gone, so that nothing can be opened."""
    made = ConnectionStore(tmp_path / ".local/share/injector/connections.db", tmp_path / ".config/injector/master.key")
    made.add("prod-eu", "AWSPARAMSTR", {}, secrets(password="canary-4711"))
    made.add("prod-us", "AWSPARAMSTR", {}, secrets(password="canary-4712"))
    made.add("team", "VAULT", {}, {})
    made.key_file.unlink()
    return made


@pytest.fixture
def run(tmp_path: Path):
    def run(*arguments: str, code: int) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        done = subprocess.run(
            [INJECTOR, *arguments], check=False, capture_output=True, text=True, env=environment, cwd=tmp_path
        )
        assert done.returncode == code, done.stderr
        assert "canary" not in done.stdout + done.stderr
        return done

    return run


def errors_of(run, template: str, *arguments: str) -> list[tuple[int, int, str, str]]:
    told = json.loads(run("check", "--format", "json", template, *arguments, code=3).stdout)["errors"]
    return [(each["line"], each["column"], each["message"], each.get("hint", "")) for each in told]


def test_a_connection_that_is_there_passes_without_the_master_key(run, store, tmp_path) -> None:
    (tmp_path / "t").write_text("a=AWSPARAMSTR:///a[connection=prod-eu] b=AWSPARAMSTR:///b\n")
    assert run("check", "t", code=0).stderr == "1 template, 2 tokens: no errors\n"


def test_a_connection_that_is_not_there_is_told_at_its_tokens_with_the_nearest_names(run, store, tmp_path) -> None:
    (tmp_path / "t").write_text("a=AWSPARAMSTR:///a[connection=prod-eu]\nb=AWSPARAMSTR:///b[connection=prod-ue] x\n")
    done = run("check", "t", code=3)
    assert "t:2:3: error: there is no connection `prod-ue` [reference-invalid]" in done.stderr
    assert "= help: did you mean prod-us or prod-eu?" in done.stderr
    github = run("check", "--format", "github", "t", code=3).stdout
    assert github.startswith("::error file=t,line=2,col=3,title=reference-invalid::there is no connection")


def test_a_connection_of_another_prefix_and_one_of_a_built_in_are_told_and_all_at_once(run, store, tmp_path) -> None:
    (tmp_path / "t").write_text("a=AWSPARAMSTR:///a[connection=team]\nb=ENV://HOME[connection=team]\n")
    assert errors_of(run, "t") == [
        (
            1,
            3,
            "the connection `team` is for VAULT, and not for AWSPARAMSTR",
            "for AWSPARAMSTR there is prod-eu and prod-us",
        ),
        (2, 3, "ENV takes no connection", "remove connection="),
    ]


def test_without_any_store_every_connection_is_missing_and_none_is_made(run, tmp_path) -> None:
    (tmp_path / "t").write_text("a=AWSPARAMSTR:///a[connection=prod-eu]\n")
    ((_, _, message, hint),) = errors_of(run, "t")
    assert message == "there is no connection `prod-eu`"
    assert "injector connection add" in hint
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
    (tmp_path / "none.yaml").write_text("{}\n")
    run("check", "--values", "none.yaml", "t", code=0)  # the stores are stood in for


def test_a_mounted_directory_is_looked_into_and_other_connections_may_be_broken(run, tmp_path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "prod.json").write_text('{"prefix": "AWSPARAMSTR", "secrets": {"password": "canary-1"}}')
    (mounted / "broken.json").write_text("{")
    (tmp_path / "t").write_text("a=AWSPARAMSTR:///a[connection=prod]\n")
    (tmp_path / "s.yaml").write_text(
        "apiVersion: config-injector.io/v1alpha1\nkind: Injector\nconnections: {directory: mounted}\n"
    )
    where = ("--config", "s.yaml")
    run("check", "t", *where, code=0)
    (tmp_path / "t").write_text("a=AWSPARAMSTR:///a[connection=prd] b=AWSPARAMSTR:///a[connection=broken]\n")
    missing, broken = errors_of(run, "t", *where)
    assert missing == (1, 3, "there is no connection `prd`", "did you mean prod?")
    assert "broken.json" in broken[2]


def test_explain_tells_a_connection_that_is_not_there(run, store, tmp_path) -> None:
    (tmp_path / "t").write_text("a=AWSPARAMSTR:///a[connection=prod-ue]\nb=AWSPARAMSTR:///b[connection=prod-eu]\n")
    done = run("explain", "t", code=3)
    assert "as           nobody: there is no connection `prod-ue`\n" in done.stdout
    assert "as           connection prod-eu\n" in done.stdout
    told = json.loads(run("explain", "--format", "json", "t", code=3).stdout)["tokens"]
    assert [each.get("connectionError") for each in told] == ["there is no connection `prod-ue`", None]


def test_a_plan_and_a_policy_need_no_connection(run, store, tmp_path) -> None:
    (tmp_path / "t").write_text("a=AWSPARAMSTR:///a[connection=of-the-cluster]\n")
    assert '"ssm:GetParameter' in run("iam-policy", "t", code=0).stdout
    run("plan", "--no-start-plugins", "t", code=0)
