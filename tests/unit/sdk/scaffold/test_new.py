"""The files of a new project; that they work is tested in tests/integration/test_new_plugin.py."""

from __future__ import annotations

import tomllib

import pytest

from injector.errors import OutputError, PluginSourceInvalid, ProjectExists
from injector.sdk.scaffold.new import new_project, project_files


def test_every_placeholder_is_filled_in_and_every_name_fits():
    files = project_files("my_shop")
    assert {"pyproject.toml", ".gitignore", "README.md", "Makefile", "injector_my_shop/store.py"} <= set(files)
    for name, text in files.items():
        assert not name.endswith(".in")
        assert "@name@" not in text
        assert "@PREFIX@" not in text
        assert "@package@" not in text
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["name"] == "injector-my-shop"
    assert project["entry-points"]["injector.plugins"] == {"my_shop": "injector_my_shop"}
    assert project["dependencies"][0].startswith("kube-config-injector>=")


@pytest.mark.parametrize("name", ["Shop", "1shop", "a-b", "", "größe", "../x", "class", "a b"])
def test_a_name_that_is_no_prefix_is_refused(name, tmp_path):
    with pytest.raises(PluginSourceInvalid):
        new_project(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_directory_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ProjectExists):
        new_project("shop", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_empty_directory_is_filled(tmp_path):
    assert new_project("shop", tmp_path) == tuple(project_files("shop"))
    assert (tmp_path / "injector_shop" / "__main__.py").is_file()


def test_a_directory_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        new_project("shop", tmp_path / "file" / "new")
