"""Commands for training data and packs: where DVC keeps them, and sending them there."""

from __future__ import annotations

import click


@click.group()
def data() -> None:
    """Training data and packs in the store: DVC's remote, and sending what DVC holds."""


@data.command()
def remote() -> None:
    """Make the store's own place (`dvc/` below store.url) DVC's default remote, in .dvc/config.local."""
    from flows.commands.shared import light_context
    from operations.data_push import configure

    click.echo(f"DVC's default remote is {configure(light_context())}")


@data.command()
def push() -> None:
    """Send all data, packs and candidates that DVC holds here to the store; sending again is free."""
    from flows.commands.shared import light_context
    from operations.data_push import push as operation

    click.echo(f"everything that DVC holds here is in {operation(light_context())}")
