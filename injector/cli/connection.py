"""`injector connection …`: the group; each command is a module of its own."""

from __future__ import annotations

import click

from injector.cli.lazy import LazyGroup

COMMANDS = {
    "add": ("injector.cli.connection_add", "Add a connection."),
    "list": ("injector.cli.connection_list", "List all connections."),
    "show": ("injector.cli.connection_show", "Show a connection, its secrets masked."),
    "edit": ("injector.cli.connection_edit", "Change fields of a connection, or its name."),
    "remove": ("injector.cli.connection_remove", "Remove a connection."),
    "test": ("injector.cli.connection_test", "Give a connection to its plugin, and tell what happened."),
    "rotate-key": ("injector.cli.connection_rotate_key", "Seal all connections with a new master key."),
}


@click.command(cls=LazyGroup, lazy=COMMANDS)
def command() -> None:
    """
    Keep credentials and settings of backends under names, encrypted.

    A token picks one: AWSPARAMSTR:///app/db[connection=prod-eu].
    """
