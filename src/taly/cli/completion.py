"""`taly completion`: what a shell needs to complete taly's commands."""

import sys

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  eval "$(taly completion bash)"      in ~/.bashrc
    zsh:   eval "$(taly completion zsh)"       in ~/.zshrc
    fish:  taly completion fish | source       in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    root = ctx.find_root().command
    sys.stdout.write(kind(root, {}, "taly", "_TALY_COMPLETE").source() + "\n")
