"""Commands for keys and eval packs."""

from __future__ import annotations

import click


@click.group()
def keys() -> None:
    """Keys of approvers, operators and API clients."""


@keys.command("new")
@click.argument("name")
@click.option("--role", "roles", multiple=True, type=click.Choice(["approver", "operator"]),
              default=("approver", "operator"), show_default=True)  # fmt: skip
def keys_new(name: str, roles: tuple[str, ...]) -> None:
    """Make an ed25519 key: the private half stays in HOME/keys, the public half goes into the approvers' file."""
    from flows.commands.shared import light_context
    from operations.keys import new

    made = new(light_context(), name, roles)
    click.echo(f"{name}: key {made.key_id[:12]} with the roles {', '.join(roles)}")


@keys.command("list")
def keys_list() -> None:
    """The public keys, their roles, and which are revoked."""
    from flows.commands.shared import light_context
    from operations.keys import ring

    for key in ring(light_context()).keys:
        click.echo(f"{key.name:<20} {key.key_id[:12]}  {', '.join(key.roles)}{'  revoked' if key.revoked else ''}")


@keys.command("revoke")
@click.argument("name")
def keys_revoke(name: str) -> None:
    """Revoke a key: what it signs from now on is refused."""
    from flows.commands.shared import light_context
    from operations.keys import revoke

    revoke(light_context(), name)
    click.echo(f"{name} is revoked")


@keys.command("api")
@click.argument("name")
def keys_api(name: str) -> None:
    """Make an API key for a client of the gateway (or show the one it has)."""
    from operations.keys import ensure_api_key
    from operations.settings import find_settings

    click.echo(ensure_api_key(find_settings().home, name))


@click.group()
def pack() -> None:
    """Eval packs: what a release is judged by."""


@pack.command("build")
@click.argument("name")
def pack_build(name: str) -> None:
    """Make or fetch a pack into data/packs/NAME."""
    from flows.commands.shared import progress_bars
    from flows.wiring import open_context
    from operations.packs import build

    with progress_bars() as progress:
        made = build(open_context(progress), name)
    click.echo(f"{made.name} {made.digest[:12]}: {len(made.utterances)} utterances in {made.root}")


@pack.command("show")
@click.argument("name")
def pack_show(name: str) -> None:
    """What a pack holds: digest, slices, sizes."""
    from evalpacks.pack import load
    from operations.settings import find_settings

    found = load(find_settings().pack(name))
    click.echo(f"{found.name} {found.digest[:12]}: {len(found.utterances)} utterances")
    for column in found.slices:
        counts = found.utterances[column].value_counts()
        click.echo(f"  {column}: " + ", ".join(f"{value} {count}" for value, count in counts.items()))
