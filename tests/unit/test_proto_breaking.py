"""What breaks a peer is found, against the right commit, wherever HEAD stands."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROTO = Path("proto", "injector", "plugin", "v2", "plugin.proto")


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("check_proto_breaking", ROOT / "tools" / "check_proto_breaking.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def repository(tmp_path):
    """A repository with today's proto/ on main; `git(...)` and `change(old, new)` work in it."""
    root = tmp_path / "repository"
    root.mkdir()
    shutil.copytree(ROOT / "proto", root / "proto")
    shutil.copy(ROOT / "buf.yaml", root)

    def git(*arguments):
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.test")
        return subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True)

    def change(old, new):
        text = (root / PROTO).read_text()
        assert old in text
        (root / PROTO).write_text(text.replace(old, new))

    git("init", "--initial-branch=main")
    git("add", ".")
    git("commit", "--message=first")
    return root, git, change


def test_nothing_changed_is_fine_and_so_is_a_new_field(tool, repository):
    root, _, change = repository
    assert tool.main([], root=root) == 0
    change("  string metadata = 2;\n", "  string metadata = 2;\n\n  // New.\n  string more = 3;\n")
    assert tool.main([], root=root) == 0


def test_a_renumbered_field_is_found_on_main_on_a_branch_and_on_a_detached_head(tool, repository, capfd):
    root, git, change = repository
    change("  string metadata = 2;\n", "  string metadata = 3;\n")
    assert tool.main([], root=root) != 0  # not committed yet
    git("checkout", "-b", "topic")
    git("commit", "--all", "--message=second")
    assert tool.main([], root=root) != 0  # against where the branch left main
    git("checkout", "main")
    git("merge", "topic")
    assert tool.main([], root=root) != 0  # on main: against the commit before
    git("checkout", "--detach")
    git("branch", "--delete", "--force", "main", "topic")
    assert tool.main([], root=root) != 0  # as CI has it: no branch at all
    assert 'with name "metadata"' in capfd.readouterr().out


def test_without_a_repository_or_a_proto_to_compare_with_nothing_is_said(tool, tmp_path, repository, capfd):
    root, git, _ = repository
    shutil.rmtree(root / ".git")
    assert tool.main([], root=root) == 0
    git("init", "--initial-branch=main")
    git("commit", "--allow-empty", "--message=empty")
    assert tool.main([], root=root) == 0
    assert "nothing to compare with" in capfd.readouterr().err
