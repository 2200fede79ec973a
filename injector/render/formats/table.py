"""The modules of the formats, each loaded when it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from injector.model.policy import FileFormat

if TYPE_CHECKING:
    from injector.render.formats.layout import Item, Layout, Marked


class Format(Protocol):
    def lay_out(self, marked: Marked) -> Layout:
        """Where the values go. Raises Misfit where the template is not of the format."""
        ...

    def outline(self, text: str) -> list[Item]:
        """What a parser reads. Raises Misfit."""
        ...


_MODULES = {
    FileFormat.JSON: "json_files",
    FileFormat.YAML: "yaml_files",
    FileFormat.TOML: "toml_files",
    FileFormat.PROPERTIES: "properties",
    FileFormat.DOTENV: "dotenv",
    FileFormat.DOCKER_ENV: "docker_env",
    FileFormat.SYSTEMD_ENV: "systemd_env",
    FileFormat.KUBELET_ENV: "kubelet_env",
    FileFormat.INI: "ini",
    FileFormat.XML: "xml_files",
    FileFormat.SHELL: "shell",
}


def format_module(file_format: FileFormat) -> Format:
    """The module of a format other than PLAIN, loaded at its first use."""
    return cast("Format", import_module(f"injector.render.formats.{_MODULES[file_format]}"))
