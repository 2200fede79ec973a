"""`injector plugin …`: the group; each command is a module of its own."""

from __future__ import annotations

import click

from injector.cli.lazy import LazyGroup

COMMANDS = {
    "list": (
        "injector.cli.plugin_list",
        "List every plugin that is found, which one is used for its prefix, and why the others are not.",
    ),
    "lock": ("injector.cli.plugin_lock", "Write the lock file: the checksums of all plugin files that are found."),
    "verify": ("injector.cli.plugin_verify", "Compare the plugin files with the lock file."),
    "install": ("injector.cli.plugin_install", "Install one plugin file from a path or an https:// URL."),
    "call": ("injector.cli.plugin_call", "Ask one plugin for one value, and print it."),
    "precompile": (
        "injector.cli.plugin_precompile",
        "Compile WASM plugins ahead of time: those named, or all that are found.",
    ),
    "new": ("injector.cli.plugin_new", "Write a new plugin's project, which passes its tests at once."),
    "build": ("injector.cli.plugin_build", "Make one executable file of a plugin in Python."),
}


@click.command(cls=LazyGroup, lazy=COMMANDS)
def command() -> None:
    """See, pin, check, install, compile, write, build and call plugins."""
