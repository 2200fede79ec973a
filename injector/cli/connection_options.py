"""What the commands of `injector connection` share: where connections are, and how fields are given and shown."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from msgspec import Struct

from injector.cli import options
from injector.errors import ConnectionInvalid, UsageError
from injector.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from injector.connections.connection import ConnectionSummary
    from injector.connections.store import ConnectionStore

F = TypeVar("F", bound="Callable[..., Any]")
_LARGEST = 1024 * 1024  # bytes of a secret's file
_STDIN = "-"
# What a shell's history and `ps` show is no secret any more; the name tells that it was meant to be one.
_SECRET_NAMES = ("password", "passphrase", "secret", "secretkey", "secretaccesskey", "apikey", "privatekey", "token")


store_options = options.options_of(
    click.option("--config", metavar="FILE", type=click.Path(), help="Settings file (YAML). [INJECTOR_CONFIG]"),
    click.option(
        "--connections-store", metavar="FILE", help="The connections. [~/.local/share/injector/connections.db]"
    ),
    click.option("--master-key-file", metavar="FILE", help="The key that seals them. [~/.config/injector/master.key]"),
)
"""Where connections are; `load_settings` takes them as flags."""


def directory_option(function: F) -> F:
    """For commands that only read."""
    option = click.option("--connections-directory", metavar="DIR", help="Connections are the Secrets mounted in DIR.")
    return option(function)


def name_argument(function: F) -> F:
    """The name of a connection that is there."""
    return click.argument("name", shell_complete=options.complete_connection)(function)


field_options = options.options_of(
    click.option("--set", "set_", multiple=True, metavar="NAME=TEXT", help="A setting that is no secret."),
    click.option("--secret", multiple=True, metavar="NAME", help="A secret; you are asked for it."),
    click.option("--secret-file", multiple=True, metavar="NAME=FILE", help="A secret from FILE; - is stdin."),
    click.option("--from-json", metavar="FILE", help='{"settings": {…}, "secrets": {…}} from FILE; - is stdin.'),
)
"""How fields are given; see `read_fields`."""


def opened_store(flags: Mapping[str, Any], *, output_format: str) -> ConnectionStore:
    """The store of these flags. Raises what `app.connecting.open_store` does."""
    settings, _ = options.load_settings(flags, output_format=output_format)

    from injector.app.connecting import open_store  # late: start-up

    return open_store(settings.connections, os.environ)


class Fields(Struct, frozen=True):
    """What was given for a connection."""

    settings: dict[str, Any]
    secrets: dict[str, Secret]
    prefix: str | None = None


def read_fields(
    *, set_: Sequence[str], secret: Sequence[str], secret_file: Sequence[str], from_json: str | None
) -> Fields:
    """
    Reads what the field options name, asking for secrets last.

    Raises UsageError, and ConnectionInvalid for files that hold something else.
    """
    files = [_pair(text, "--secret-file") for text in secret_file]
    if [from_json, *(file for _, file in files)].count(_STDIN) > 1:
        raise UsageError("standard input (-) can be read once only")
    settings = dict(_pair(text, "--set") for text in set_)
    for name in settings:
        if name.lower().replace("_", "").replace("-", "").endswith(_SECRET_NAMES):
            raise UsageError(
                f"{name} looks like a secret, and every user of this machine can see a command line",
                hint=f"change it, then give it by --secret {name}; for one that is no secret use --from-json",
            )
    given = Fields(settings, {})
    if from_json is not None:
        given = _from_json(from_json, settings)
    texts = {name: _file_text(name, file) for name, file in files} | {name: _asked(name) for name in secret}
    # What a terminal sent that is no UTF-8 becomes its bytes again, and is refused where secrets are checked.
    secrets = given.secrets | {name: Secret(text.encode("utf-8", "surrogateescape")) for name, text in texts.items()}
    return Fields(given.settings, secrets, given.prefix)


def _from_json(file: str, settings: dict[str, Any]) -> Fields:
    from injector.connections.written import read_written  # late: start-up

    written = read_written(_read(file), "standard input" if file == _STDIN else file)
    secrets = {name: Secret(text.encode()) for name, text in written.secrets.items()}
    return Fields(written.settings | settings, secrets, written.prefix)


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{option} is NAME={'FILE' if 'file' in option else 'TEXT'}")
    return name, value


def _file_text(name: str, file: str) -> str:
    from injector.connections.written import secret_text  # late: start-up

    return secret_text(_read(file), f"the secret {name}")


def _read(file: str) -> bytes:
    try:
        if file == _STDIN:
            data = sys.stdin.buffer.read(_LARGEST + 1)
        else:
            with Path(file).open("rb") as stream:
                data = stream.read(_LARGEST + 1)
    except OSError as error:
        raise ConnectionInvalid(f"{file} cannot be read: {(error.strerror or '').lower()}") from None
    if len(data) > _LARGEST:
        raise ConnectionInvalid(f"{file} is larger than {_LARGEST} bytes", hint="is it the right file?")
    return data


def _asked(name: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError(
            f"--secret {name} asks for it, and there is no terminal", hint=f"use --secret-file {name}=FILE, or =-"
        )
    text: str = click.prompt(name, hide_input=True, err=True)
    return text


def printable(value: object) -> str:
    """A setting or a name for a terminal: a text as it is, anything else as JSON, nothing that controls it."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def told(what: str, summary: ConnectionSummary) -> str:
    """One line about a connection that was *what* (`added`)."""
    from injector.cli.terminal import counted  # late: start-up

    fields = f"{counted(len(summary.settings), 'setting')}, {counted(len(summary.secret_fields), 'secret')}"
    return f"{what} connection {summary.name} ({summary.prefix}): version {summary.version}, {fields}"
