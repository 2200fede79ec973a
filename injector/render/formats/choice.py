"""Which format a file has."""

from __future__ import annotations

from injector.model.policy import Escaping, FileFormat, Form

_BY_EXTENSION = {
    "json": FileFormat.JSON,
    "yaml": FileFormat.YAML,
    "yml": FileFormat.YAML,
    "toml": FileFormat.TOML,
    "properties": FileFormat.PROPERTIES,
    "env": FileFormat.DOTENV,
    "ini": FileFormat.INI,
    "xml": FileFormat.XML,
    "sh": FileFormat.SHELL,
    "bash": FileFormat.SHELL,
}
_TEMPLATE_SUFFIXES = (".tmpl", ".tpl", ".cm")


def format_of(name: str) -> FileFormat:
    """
    The format by the extension of *name*, a path with `/`; PLAIN for every other one.

    A trailing .tmpl, .tpl or .cm does not count. `.env` and `.env.local` are dotenv
    files. `.conf` and `.cfg` mean too many things to be anything but plain.
    """
    last = name.rpartition("/")[2].lower()
    for suffix in _TEMPLATE_SUFFIXES:
        last = last.removesuffix(suffix)
    if last == ".env" or last.startswith(".env."):
        return FileFormat.DOTENV
    _, dot, extension = last.rpartition(".")
    return _BY_EXTENSION.get(extension, FileFormat.PLAIN) if dot else FileFormat.PLAIN


def form_for(
    output_name: str,
    file_format: FileFormat = FileFormat.AUTO,
    escape: Escaping = Escaping.AUTO,
    *,
    read_back: bool = True,
) -> Form:
    """The form of the output *output_name* (its path, or the template's where there is none) under its settings."""
    chosen = format_of(output_name) if file_format is FileFormat.AUTO else file_format
    return Form(format=chosen, escape=escape, read_back=read_back)
