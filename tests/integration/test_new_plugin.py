"""`injector plugin new`: the project passes its tests, is found when installed, and makes a file for a Go host."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from injector.cli.main import main
from injector.sdk.handshake import go_platform
from injector.sdk.scaffold.new import project_files

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main(["plugin", "new", "my_shop"]) == 0
    return tmp_path / "my_shop"


@pytest.fixture
def python(project: Path, tmp_path: Path) -> Path:
    """The Python of a virtual environment with the project and all that these tests have, made without a network."""
    wheels = tmp_path / "wheels"
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(wheels)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    venv.create(tmp_path / "env", with_pip=False)
    (site,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(next(wheels.iterdir())) as wheel:
        wheel.extractall(site)
    (site / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return tmp_path / "env" / "bin" / "python"


def test_its_tests_pass_at_once(project, python):
    done = subprocess.run(
        [python, "-m", "pytest", "-p", "no:cacheprovider", "-q"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_installed_it_is_found_and_answers(project, python):
    (project / "injector.yaml").write_text(
        "apiVersion: config-injector.io/v1alpha1\nkind: Injector\nplugins:\n  passEnvironment: [MY_SHOP_FILE]\n"
    )
    command = "import sys; from injector.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [python, "-c", command, "render", "--config", "injector.yaml", "-"],
        input="db: MY_SHOP:///app/db[part=first]\n",
        cwd=project,
        env=os.environ | {"MY_SHOP_FILE": str(project / "tests" / "values.json")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.returncode) == ("db: the first line\n", 0), done.stderr


@pytest.mark.go
def test_built_it_runs_under_hashicorps_host(project, go_host, socket_directory, capsys):
    assert main(["plugin", "build", str(project), "--python", sys.executable]) == 0
    plugin = capsys.readouterr().out.splitlines()[-1]
    assert plugin == f"my_shop-{go_platform()}"
    done = subprocess.run(
        [go_host, "-token", "/größe", Path(plugin).resolve()],
        env=os.environ | {"TMPDIR": str(socket_directory), "MY_SHOP_FILE": str(project / "tests" / "values.json")},
        capture_output=True,
        check=False,
        timeout=60,
    )
    report = json.loads(done.stdout)
    assert report["error"] == ""
    assert report["calls"][0]["value"] == "größe 値"


def test_the_makefile_and_the_readme_name_commands_that_there_are(project):
    text = (project / "README.md").read_text() + (project / "Makefile").read_text()
    assert "injector plugin build . --python" in text
    assert "injector plugin call --config injector.yaml my_shop /app/db" in text


def test_for_programs_it_lists_the_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plugin", "new", "shop", "there", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["directory"], report["files"]) == ("there", list(project_files("shop")))
    assert main(["plugin", "new", "shop", "there"]) == 9
    assert main(["plugin", "new", "no-prefix"]) == 3


def test_the_wheel_of_injector_has_the_templates(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("injector", "plugins"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "out")]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next((tmp_path / "out").iterdir())) as wheel:
        held = set(wheel.namelist())
    templates = [path.relative_to(ROOT).as_posix() for path in (ROOT / "injector" / "sdk").rglob("*.in")]
    assert len(templates) == len(project_files("shop")) + 1
    assert set(templates) <= held
