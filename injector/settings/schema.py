"""
The settings as the program sees them: every value parsed and checked, units fixed.

Names are camelCase in the settings file. Times are in seconds, sizes in bytes, modes are permission bits.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads the fields' types
from pathlib import Path, PurePosixPath
from typing import Any

from msgspec import Struct

from injector.model.policy import (
    AutoMtls,
    Check,
    Escaping,
    FileFormat,
    MissingPolicy,
    OnError,
    OnMissing,
    Verify,
    WriteMode,
)
from injector.settings.actions import Action  # noqa: TC001 - msgspec reads the fields' types

DOMAIN = "config-injector.io"
"""The one home of API group, annotations and labels."""

API_VERSION = f"{DOMAIN}/v1alpha1"
KIND = "Injector"
LOCK_KIND = "PluginLock"
LOCK_FILE_NAME = "injector.plugins.lock"
"""Looked for beside the settings file, then in the current directory."""


class PluginSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """
    How plugins are run.

    `start_timeout`, `call_timeout` and `health_interval` in seconds; the last is how often a process that lasts asks a
    plugin whether it is well, and a single render never does. `pass_environment` names the variables that a plugin
    gets beside the usual ones; `max_value_size` is in bytes. `configuration` has what a plugin is given at its start,
    by its name in lower case: JSON's types, whose meaning is the plugin's own. It is written in the file only.
    `auto_mtls` and `multiplex` are asked of every plugin; `auto_mtls_for` has other modes for some, by their names in
    lower case, and is written in the file only. Plugins on TCP listen between `min_port` and `max_port`; sockets lie
    below `socket_directory` (TMPDIR when None) and belong to `socket_group` (a name or a number) when it is set.
    A WASM plugin has `wasm_memory` bytes for each of its instances, and is kept in its compiled form in the directory
    `wasm_cache`, by default one of the user's cache.
    `lock_file` is the one to hold plugins to, when it was named or lies beside the settings file; `verify` says whether
    they are.
    """

    start_timeout: float = 30.0
    call_timeout: float = 30.0
    health_interval: float = 10.0
    pass_environment: tuple[str, ...] = ()
    max_value_size: int = 16 * 1024 * 1024
    auto_mtls: AutoMtls = AutoMtls.PREFER
    auto_mtls_for: Mapping[str, AutoMtls] = {}
    multiplex: bool = False
    min_port: int = 10_000
    max_port: int = 25_000
    socket_group: str = ""
    socket_directory: Path | None = None
    configuration: Mapping[str, Mapping[str, Any]] = {}
    wasm_cache: Path | None = None
    wasm_memory: int = 64 * 1024 * 1024
    lock_file: Path | None = None
    verify: Verify = Verify.LOCKED


class ConnectionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """
    Where connections are: in the SQLite file `store`, sealed with the key in `master_key_file` (None: the usual places
    of the user), or instead in `directory`, where Secrets of Kubernetes are mounted.
    """

    store: Path | None = None
    master_key_file: Path | None = None
    directory: Path | None = None


class FileOverride(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What is different for the templates whose name matches `match`; None leaves the run's setting."""

    match: str
    token_separator: str | None = None
    key_separator: str | None = None
    envsubst: bool | None = None
    on_missing: OnMissing | None = None
    default_value: str | None = None
    format: FileFormat | None = None
    escape: Escaping | None = None
    check: Check | None = None
    check_timeout: float | None = None
    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    write: WriteMode | None = None
    on_error: OnError | None = None
    max_stale: float | None = None
    required: bool | None = None
    connection: tuple[str, ...] | None = None

    def applies_to(self, name: str) -> bool:
        """
        Whether the template *name* is meant. Patterns match from the right, part by part, case matters:
        `*.conf` any such file, `legacy/*` what lies directly in a directory `legacy`, `/etc/a.conf` just that.
        """
        return PurePosixPath(name).match(self.match)


class FileSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What holds for one template."""

    token_separator: str
    key_separator: str
    envsubst: bool
    on_missing: OnMissing
    default_value: str
    format: FileFormat
    escape: Escaping
    check: Check
    check_timeout: float
    mode: int
    owner: str
    group: str
    write: WriteMode
    on_error: OnError
    max_stale: float | None
    required: bool
    connection: tuple[str, ...]

    @property
    def missing(self) -> MissingPolicy:
        """The policy for values and keys that a store does not have."""
        return MissingPolicy(on_missing=self.on_missing, default=self.default_value)


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """
    Everything that can be set. `timeout` (seconds) is for the whole run, `concurrency` for each backend.

    `inputs` are the templates (files, directories, `-` for standard input) when the command line names none; their
    results go to `output` (one file) or below `output_dir`. `format` and `escape` say how values are spelled in written
    files, `check` what a file must pass before it is published; a command of it has `check_timeout` seconds.

    `owner` and `group` of written files are names or numbers, empty for the process's own. What a single render has
    no use for: values are asked for again every `refresh` (None: only when their leases end or somebody asks), a file
    may be stale for `max_stale` (None: for ever) before the process is not ready, and only `required` files count.
    Changed files are looked at when nothing has changed for `debounce_min`, at the latest after `debounce_max`;
    notifications are grouped likewise and wait for a random part of `splay`. Every `rescan` all is looked at without
    a reason. `prune` removes outputs whose templates are gone. `listen` is the `host:port` of health, metrics and
    status, `control` the socket on which a refresh can be asked for. `notify` is what is done when files changed.
    `events` writes Kubernetes Events about the pod that this runs in. `handover` is a directory in which an init
    container leaves its values for the sidecar that follows it.

    Tokens that name no connection have the one of `connection` that is for their prefix, if there is one.

    `files` are overrides for some templates. They go before the run's settings, wherever those come from: an
    override is the more particular of the two. Of two that match one template, the later wins, field by field.
    """

    inputs: tuple[Path, ...] = ()
    output: Path | None = None
    output_dir: Path | None = None
    token_separator: str = "://"  # noqa: S105  # punctuation of the token grammar, no password
    key_separator: str = "|"
    envsubst: bool = False
    on_missing: OnMissing = OnMissing.FAIL
    default_value: str = ""
    format: FileFormat = FileFormat.AUTO
    escape: Escaping = Escaping.AUTO
    check: Check = Check()
    check_timeout: float = 30.0
    timeout: float = 60.0
    concurrency: int = 64
    mode: int = 0o600
    owner: str = ""
    group: str = ""
    write: WriteMode = WriteMode.RENAME
    on_error: OnError = OnError.KEEP
    max_stale: float | None = None
    required: bool = True
    refresh: float | None = 300.0
    splay: float | None = None
    debounce_min: float = 0.1
    debounce_max: float = 2.0
    rescan: float = 30.0
    prune: bool = False
    listen: str = ""
    control: Path | None = None
    connection: tuple[str, ...] = ()
    events: bool = False
    handover: Path | None = None
    plugin_path: tuple[Path, ...] = ()
    file_root: Path | None = None
    log_level: str = "warning"
    log_format: str = "text"
    notify: tuple[Action, ...] = ()
    plugins: PluginSettings = PluginSettings()
    connections: ConnectionSettings = ConnectionSettings()
    files: tuple[FileOverride, ...] = ()

    def for_file(self, name: str) -> FileSettings:
        """The settings of the template *name* (a path with `/`): the run's, then every matching override in order."""
        merged = {field: getattr(self, field) for field in FileSettings.__struct_fields__}
        for override in self.files:
            if override.applies_to(name):
                said = {field: getattr(override, field) for field in merged}
                merged |= {field: value for field, value in said.items() if value is not None}
        return FileSettings(**merged)
