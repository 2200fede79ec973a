"""What a run does when a value is not to be had, how it writes files, which plugins it trusts."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class OnMissing(StrEnum):
    """fail: report it · empty: write nothing · keep: leave the token's text · default: write the given text."""

    FAIL = "fail"
    EMPTY = "empty"
    KEEP = "keep"
    DEFAULT = "default"


class MissingPolicy(Struct, frozen=True):
    """The run's or the file's policy; a token's own `default=` and `optional=` go before it."""

    on_missing: OnMissing = OnMissing.FAIL
    default: str = ""


class OnError(StrEnum):
    """
    What becomes of a file whose refresh fails (time-out, throttled, denied, plugin down).

    keep: the last good file stays, marked stale · fail: it stays, too, and the process is not ready.
    """

    KEEP = "keep"
    FAIL = "fail"


class WriteMode(StrEnum):
    """
    How a file gets to its place.

    rename: a new file takes its name, readers see the old one or the new one · in-place: the file is overwritten, for
    single files that are mounts of their own · set: all files of the output directory are switched at once.
    """

    RENAME = "rename"
    IN_PLACE = "in-place"
    SET = "set"


class AutoMtls(StrEnum):
    """require: no plugin without TLS · prefer: TLS with every plugin that can · off: never asked for."""

    REQUIRE = "require"
    PREFER = "prefer"
    OFF = "off"


class Verify(StrEnum):
    """
    Whether plugin files are held to a lock file.

    off: never · locked: when there is a lock file · required: always, and without a lock file none is run.
    """

    OFF = "off"
    LOCKED = "locked"
    REQUIRED = "required"


class FileFormat(StrEnum):
    """What a rendered file is; auto goes by the extension of its name."""

    AUTO = "auto"
    PLAIN = "plain"
    JSON = "json"
    YAML = "yaml"
    TOML = "toml"
    PROPERTIES = "properties"
    DOTENV = "dotenv"
    DOCKER_ENV = "docker-env"
    SYSTEMD_ENV = "systemd-env"
    KUBELET_ENV = "kubelet-env"
    INI = "ini"
    XML = "xml"
    SHELL = "shell"


class Escaping(StrEnum):
    """auto: values are spelled as their place in the format wants it · raw: their bytes are inserted as they are."""

    AUTO = "auto"
    RAW = "raw"


class Check(Struct, frozen=True):
    """
    What a rendered file must pass before it is published.

    `read_back`: it is parsed, and holds what it should. `command`: arguments of a program that is run on it, with
    `{file}` for its path; empty for none.
    """

    read_back: bool = True
    command: tuple[str, ...] = ()


class Form(Struct, frozen=True):
    """How values get into one file. `format` is never AUTO here: see `render.formats.choice.form_for`."""

    format: FileFormat = FileFormat.PLAIN
    escape: Escaping = Escaping.AUTO
    read_back: bool = True


PLAIN_FORM = Form()
