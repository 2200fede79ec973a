"""`injector completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """
    Print the completion script for a shell.

    \b
    bash:  injector completion bash > /etc/bash_completion.d/injector
    zsh:   injector completion zsh > "${fpath[1]}/_injector"
    fish:  injector completion fish > ~/.config/fish/completions/injector.fish
    """
    from injector.cli.main import cli  # late: main imports us

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    complete = kind(cli, {}, "injector", "_INJECTOR_COMPLETE")
    if shell == "bash":
        # click's own source() starts bash to learn its version; the script itself asks for 4.4.
        click.echo(complete.source_template % complete.source_vars())
    else:
        click.echo(complete.source())
