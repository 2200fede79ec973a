"""Every setting once: its place in the file, its variable, its flag, its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from injector.settings import kinds

if TYPE_CHECKING:
    from injector.settings.kinds import Kind


class Option(Struct, frozen=True):
    """
    A setting of the run.

    `field` is its place in `Settings` (`plugins.call_timeout`), `key` that in the file (`plugins.callTimeout`). The
    key of the mapping of flags is `flag`; on the command line it has dashes.
    """

    field: str
    kind: Kind
    variable: str
    flag: str

    @property
    def key(self) -> str:
        return ".".join(camel(part) for part in self.field.split("."))


def camel(name: str) -> str:
    """`call_timeout` as `callTimeout`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _option(field: str, kind: Kind, name: str | None = None) -> Option:
    name = name or field
    return Option(field, kind, variable=f"INJECTOR_{name.upper()}", flag=name)


OPTIONS = (
    _option("inputs", kinds.INPUTS),
    _option("output", kinds.PATH),
    _option("output_dir", kinds.PATH),
    _option("token_separator", kinds.SEPARATOR),
    _option("key_separator", kinds.CHARACTER),
    _option("envsubst", kinds.BOOLEAN),
    _option("on_missing", kinds.ON_MISSING),
    _option("default_value", kinds.TEXT),
    # INJECTOR_FORMAT and --format are about what is printed.
    _option("format", kinds.FILE_FORMAT, "file_format"),
    _option("escape", kinds.ESCAPE),
    _option("check", kinds.CHECK),
    _option("check_timeout", kinds.DURATION),
    _option("timeout", kinds.DURATION),
    _option("concurrency", kinds.COUNT),
    _option("mode", kinds.MODE),
    _option("owner", kinds.ACCOUNT),
    _option("group", kinds.ACCOUNT),
    _option("write", kinds.WRITE),
    _option("on_error", kinds.ON_ERROR),
    _option("max_stale", kinds.DURATION_OR_OFF),
    _option("required", kinds.BOOLEAN),
    _option("refresh", kinds.DURATION_OR_OFF),
    _option("splay", kinds.DURATION_OR_OFF),
    _option("debounce_min", kinds.DURATION),
    _option("debounce_max", kinds.DURATION),
    _option("rescan", kinds.DURATION),
    _option("prune", kinds.BOOLEAN),
    _option("listen", kinds.ADDRESS),
    _option("control", kinds.PATH),
    _option("events", kinds.BOOLEAN),
    _option("handover", kinds.PATH),
    _option("notify", kinds.NOTIFY),
    _option("connection", kinds.CONNECTIONS),
    _option("plugin_path", kinds.PATHS),
    _option("file_root", kinds.PATH),
    _option("log_level", kinds.LOG_LEVEL),
    _option("log_format", kinds.LOG_FORMAT),
    _option("plugins.start_timeout", kinds.DURATION, "plugin_start_timeout"),
    _option("plugins.call_timeout", kinds.DURATION, "plugin_call_timeout"),
    _option("plugins.health_interval", kinds.DURATION, "plugin_health_interval"),
    _option("plugins.pass_environment", kinds.VARIABLES, "pass_environment"),
    _option("plugins.max_value_size", kinds.SIZE, "max_value_size"),
    _option("plugins.auto_mtls", kinds.AUTO_MTLS, "auto_mtls"),
    _option("plugins.multiplex", kinds.BOOLEAN, "multiplex"),
    # Not INJECTOR_…_PORT: Kubernetes makes such variables itself, and they are skipped.
    _option("plugins.min_port", kinds.PORT, "plugin_port_min"),
    _option("plugins.max_port", kinds.PORT, "plugin_port_max"),
    _option("plugins.socket_group", kinds.ACCOUNT, "plugin_socket_group"),
    _option("plugins.socket_directory", kinds.PATH, "plugin_socket_directory"),
    _option("plugins.wasm_cache", kinds.PATH, "plugin_wasm_cache"),
    _option("plugins.wasm_memory", kinds.SIZE, "plugin_wasm_memory"),
    _option("plugins.lock_file", kinds.PATH, "plugin_lock_file"),
    _option("plugins.verify", kinds.VERIFY, "plugin_verify"),
    _option("connections.store", kinds.PATH, "connections_store"),
    _option("connections.master_key_file", kinds.PATH, "master_key_file"),
    _option("connections.directory", kinds.PATH, "connections_directory"),
)

OVERRIDES = {
    "match": kinds.PATTERN,
    "token_separator": kinds.SEPARATOR,
    "key_separator": kinds.CHARACTER,
    "envsubst": kinds.BOOLEAN,
    "on_missing": kinds.ON_MISSING,
    "default_value": kinds.TEXT,
    "format": kinds.FILE_FORMAT,
    "escape": kinds.ESCAPE,
    "check": kinds.CHECK,
    "check_timeout": kinds.DURATION,
    "mode": kinds.MODE,
    "owner": kinds.ACCOUNT,
    "group": kinds.ACCOUNT,
    "write": kinds.WRITE,
    "on_error": kinds.ON_ERROR,
    "max_stale": kinds.DURATION_OR_OFF,
    "required": kinds.BOOLEAN,
    "connection": kinds.CONNECTIONS,
}
"""The fields of an entry of `files`."""

REATTACH_VARIABLE = "INJECTOR_PLUGIN_REATTACH"
"""Plugins that somebody started by hand: see `backends.goplugin.reattach`."""

CHANGED_VARIABLES = ("INJECTOR_TEMPLATES", "INJECTOR_OUTPUTS")
"""What a command of `notify` is told: the names of the changed templates and of their outputs, one a line."""

OTHER_VARIABLES = frozenset({"INJECTOR_CONFIG", "INJECTOR_FORMAT", REATTACH_VARIABLE, *CHANGED_VARIABLES})
"""
Variables that are no settings: the settings file's path, the form of what is printed, plugins to reattach, and what a
command that we started ourselves may hand to another of us.
"""
