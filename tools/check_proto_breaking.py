"""
Compares `proto/` with an earlier commit by `buf breaking`: no message may stop being understood by who has the old one.

The commit is the one named by --against; else where this branch left main (main or origin/main); else, on main itself,
the commit before; else, where there is no other, HEAD. No network is used, and a detached HEAD or a worktree does.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUF = Path(sys.executable).with_name("buf")


def git(*arguments: str, root: Path) -> bytes | None:
    """What git prints; None when it fails, e.g. for a commit that a shallow clone does not have."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)  # noqa: S603, S607 - ours
    return done.stdout if done.returncode == 0 else None


def baseline(root: Path) -> str | None:
    """The commit to compare with, or None when *root* is no git repository."""
    head = git("rev-parse", "HEAD", root=root)
    for main in ("main", "origin/main"):
        base = git("merge-base", main, "HEAD", root=root)
        if base and base != head:
            return base.decode().strip()
    found = git("rev-parse", "--verify", "--quiet", "HEAD^", root=root) or head
    return found.decode().strip() if found else None


def breaking(root: Path, commit: str) -> int:
    """`buf breaking` of *root* against *commit*: 0 when nothing breaks. Its findings go to standard output."""
    archive = git("archive", "--format=tar", commit, "proto", root=root)
    if archive is None:
        sys.stderr.write(f"{commit[:12]} has no proto/; nothing to compare with\n")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(directory, filter="data")
        # The rules of today hold, whatever those of the old commit were.
        (Path(directory) / "buf.yaml").write_bytes((root / "buf.yaml").read_bytes())
        return subprocess.run([BUF, "breaking", "--against", directory], cwd=root, check=False).returncode  # noqa: S603


def main(arguments: list[str] | None = None, *, root: Path = ROOT) -> int:
    """Exit code: 0 nothing breaks, or there is nothing to compare with."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", help="a commit")
    commit = parser.parse_args(arguments).against or baseline(root)
    if commit is None:
        sys.stderr.write("no git repository here; proto/ is not compared\n")
        return 0
    return breaking(root, commit)


if __name__ == "__main__":
    sys.exit(main())
