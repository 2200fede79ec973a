"""What goes into a single file, and what is refused."""

from __future__ import annotations

import io
import os
import shutil
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from injector.errors import OutputError, PluginBuildFailed, PluginSourceInvalid
from injector.sdk.building.build import build
from injector.sdk.handshake import go_platform

MAIN = "from injector.sdk import serve\nfrom shop.store import Store\nserve(Store(), name='shop')\n"
STORE = """from injector.sdk import LookupStore
class Store(LookupStore):
    def look_up(self, reference):
        return reference.path
"""
PROJECT = """
[project]
name = "injector-shop"
dependencies = ["kube-config-injector>=0.1", "grpcio"{}]
[project.entry-points."injector.plugins"]
shop = "shop"
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "project" / "shop"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "__main__.py").write_text(MAIN)
    (folder / "store.py").write_text(STORE)
    (folder / "data" / "names.txt").write_text("a\nb\n")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "store.cpython-311.pyc").write_bytes(b"old")
    (folder / ".secret").write_text("not for the archive")
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_it_holds_the_package_and_what_the_sdk_needs_and_no_tools(package, output):
    build(package, output=output)
    held = names(output)
    assert {"__main__.py", "__main__.pyc", "shop/__main__.py", "shop/store.pyc", "shop/data/names.txt"} <= set(held)
    assert {"injector/__init__.py", "injector/errors.py", "injector/sdk/serving.pyc"} <= set(held)
    assert "injector/_proto/tokenstore/v1/token_store_pb2.py" in held
    assert not [name for name in held if name.startswith(("injector/cli", "injector/sdk/testing", "injector/sdk/buil"))]
    assert not [name for name in held if "pycache" in name or "/." in name or name.endswith((".pyi", ".in"))]
    assert held == sorted(held)


def test_the_file_begins_with_its_interpreter_and_only_its_owner_may_write_it(package, output):
    built = build(package, output=output, python="/usr/bin/env python3.11")
    assert output.read_bytes().startswith(b"#!/usr/bin/env python3.11\nPK")
    assert stat.S_IMODE(output.stat().st_mode) == 0o755
    assert (built.path, built.prefix, built.size) == (output, "shop", output.stat().st_size)
    assert built.needs[0] == "grpcio"
    assert built.needs[1].startswith("protobuf>=")
    assert built.needs[2:] == ("cryptography",)


def test_the_same_input_gives_the_same_bytes_wherever_and_whenever(package, output, tmp_path, monkeypatch):
    first = build(package, output=output)
    copy = tmp_path / "elsewhere" / "shop"
    shutil.copytree(package, copy, copy_function=shutil.copy)
    os.utime(copy / "store.py", (1, 1))
    monkeypatch.setenv("PYTHONHASHSEED", "42")
    second = build(copy, output=tmp_path / "second")
    assert first.sha256 == second.sha256
    assert output.read_bytes() == (tmp_path / "second").read_bytes()


def test_no_path_of_the_building_machine_is_in_it(package, output):
    build(package, output=output)
    with zipfile.ZipFile(output) as archive:
        for name in archive.namelist():
            assert str(package.parent).encode() not in archive.read(name), name


def test_by_default_the_file_is_named_as_hosts_look_for_it(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert build(package).path == Path(f"shop-{go_platform()}")
    assert build(package, prefix="other").path == Path(f"other-{go_platform()}")
    assert (tmp_path / f"other-{go_platform()}").is_file()


def test_a_project_says_by_its_entry_point_what_is_run(package, output):
    (package.parent / "pyproject.toml").write_text(PROJECT.format(""))
    assert build(package.parent, output=output).prefix == "shop"
    source = package.parent / "src"
    source.mkdir()
    package.rename(source / "shop")
    assert build(package.parent, output=output).prefix == "shop"


def test_a_single_file_is_a_plugin_as_well(tmp_path, output):
    (tmp_path / "shop.py").write_text(STORE)
    assert build(tmp_path / "shop.py", output=output).prefix == "shop"
    assert "shop.py" in names(output)


def test_dependencies_of_a_project_are_put_in_or_left_out_by_word_only(package, output):
    (package.parent / "pyproject.toml").write_text(PROJECT.format(', "botocore>=1"'))
    with pytest.raises(PluginSourceInvalid, match="botocore>=1"):
        build(package.parent, output=output)
    assert not output.exists()
    assert "botocore>=1" in build(package.parent, output=output, with_dependencies=False).needs


def wheel(folder: Path, file: str, content: str) -> None:
    """A distribution `tiny` with one file."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(file, content)
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    folder.mkdir(exist_ok=True)
    (folder / "tiny-1.0-py3-none-any.whl").write_bytes(data.getvalue())


def test_a_requirements_file_is_put_inside(package, output, tmp_path):
    wheel(tmp_path / "wheels", "tiny/__init__.py", "x = 1\n")
    requirement = tmp_path / "requirements.txt"
    requirement.write_text(f"--no-index\n--find-links {tmp_path / 'wheels'}\ntiny==1.0\n")
    first = build(package, output=output, requirement=requirement)
    held = names(output)
    assert {"tiny/__init__.py", "tiny/__init__.pyc", "tiny-1.0.dist-info/METADATA"} <= set(held)
    assert "tiny-1.0.dist-info/RECORD" not in held
    assert build(package, output=output, requirement=requirement).sha256 == first.sha256


def test_a_source_that_a_dependency_never_imports_may_be_broken(package, output, tmp_path):
    wheel(tmp_path / "wheels", "tiny/old.py", "print 'python 2'\n")
    requirement = tmp_path / "requirements.txt"
    requirement.write_text(f"--no-index\n--find-links {tmp_path / 'wheels'}\ntiny\n")
    build(package, output=output, requirement=requirement)
    assert "tiny/old.py" in names(output)
    assert "tiny/old.pyc" not in names(output)


def test_machine_code_is_refused(package, output, tmp_path):
    wheel(tmp_path / "wheels", "tiny/fast.cpython-311-x86_64-linux-gnu.so", "")
    requirement = tmp_path / "requirements.txt"
    requirement.write_text(f"--no-index\n--find-links {tmp_path / 'wheels'}\ntiny\n")
    with pytest.raises(PluginBuildFailed, match="machine code"):
        build(package, output=output, requirement=requirement)
    (package / "fast.so").touch()
    with pytest.raises(PluginSourceInvalid, match="machine code"):
        build(package, output=output)


def test_what_pip_does_not_find_is_a_failure(package, output, tmp_path):
    requirement = tmp_path / "requirements.txt"
    requirement.write_text("--no-index\ntiny\n")
    with pytest.raises(PluginBuildFailed, match=r"requirements\.txt"):
        build(package, output=output, requirement=requirement)
    assert not output.exists()


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("python3", "absolute"),
        ("", "absolute"),
        ("/usr/bin/python3\n", "absolute"),
        ("/usr/bin/python3 -I -S", "more than one argument"),
        ("/" + "x" * 130, "longer"),
    ],
)
def test_what_cannot_stand_in_a_first_line_is_refused(package, output, python, said):
    with pytest.raises(PluginSourceInvalid, match=said):
        build(package, output=output, python=python)


def test_an_interpreter_that_is_none_is_refused_and_one_that_is_not_here_is_believed(package, output):
    with pytest.raises(PluginBuildFailed, match="/bin/true"):
        build(package, output=output, python="/bin/true")
    built = build(package, output=output, python="/nowhere/bin/python3")
    assert built.bytecode == f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "__main__.py").unlink(), "is no plugin in Python"),
        (lambda folder: (folder / "store.py").write_text("def f(:\n"), r"store\.py:1 is no valid Python"),
    ],
)
def test_a_source_that_is_no_plugin_says_what_is_wrong(package, output, change, said):
    change(package)
    with pytest.raises(PluginSourceInvalid, match=said):
        build(package, output=output)
    assert not output.exists()


def test_a_project_without_a_plugin_and_one_with_two_ask_for_a_name(package, output):
    (package.parent / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    with pytest.raises(PluginSourceInvalid, match=r"injector\.plugins: none"):
        build(package.parent, output=output)
    (package.parent / "pyproject.toml").write_text(PROJECT.format("") + 'other = "shop"\n')
    with pytest.raises(PluginSourceInvalid, match="other, shop"):
        build(package.parent, output=output)
    assert build(package.parent, output=output, prefix="other").prefix == "other"
    (package.parent / "pyproject.toml").write_text("[project")
    with pytest.raises(PluginSourceInvalid, match="cannot be read"):
        build(package.parent, output=output)


def test_a_package_may_not_have_the_sdks_name(package, output):
    with pytest.raises(PluginSourceInvalid, match="cannot be the name"):
        build(package.rename(package.parent / "injector"), output=output)


@pytest.mark.parametrize("prefix", ["Shop", "1a", "a-b", "", "a/b"])
def test_a_prefix_that_no_token_can_have_is_refused(package, output, prefix):
    with pytest.raises(PluginSourceInvalid, match="prefix"):
        build(package, output=output, prefix=prefix)


def test_a_file_that_cannot_be_written_leaves_what_was_there(package, tmp_path):
    with pytest.raises(OutputError):
        build(package, output=tmp_path / "none" / "out")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError):
        build(package, output=tmp_path / "taken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project", "taken"]
