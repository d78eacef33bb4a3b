"""Commands for the MLflow mirror: is it what the ledger says, and make it so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from operations.settings import Settings


@click.group()
def mirror() -> None:
    """MLflow as a view of the ledger: compare it, or write it anew."""


@mirror.command()
@click.argument("family", required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def check(family: str | None, as_json: bool) -> None:
    """Compare every version, tag, metric, artifact and alias with the ledger; exit status 1 names each difference."""
    from flows.commands.shared import progress_bars, say
    from flows.wiring import open_context
    from operations.mirror import check as operation

    with progress_bars() as progress:
        context = open_context(progress)
        found = {name: operation(context, name) for name in _chosen(context.settings, family)}
    if as_json:
        say(dict(found))
    else:
        for name, differences in found.items():
            click.echo(f"{name}: " + (_count(differences) if differences else "MLflow shows what the ledger says"))
            for one in differences:
                click.echo(f"  {one}")
    if any(found.values()):
        click.echo("next step: soundcheck mirror rebuild" + (f" {family}" if family else ""), err=True)
    raise SystemExit(int(any(found.values())))


@mirror.command()
@click.argument("family", required=False)
def rebuild(family: str | None) -> None:
    """Write MLflow from the ledger, into a server that is empty, behind or wrong; what is right is left alone."""
    from flows.commands.shared import progress_bars
    from flows.wiring import open_context
    from operations.mirror import rebuild as operation

    with progress_bars() as progress:
        context = open_context(progress)
        done = {name: operation(context, name) for name in _chosen(context.settings, family)}
    for name, (versions, differences) in done.items():
        said = _count(differences) if differences else "equal to the ledger"
        click.echo(f"{name}: {versions} version{'s' if versions != 1 else ''}, {said}")
        for one in differences:
            click.echo(f"  {one}")
    raise SystemExit(int(any(differences for _versions, differences in done.values())))


def _chosen(settings: Settings, family: str | None) -> tuple[str, ...]:
    """The family that was named, or all; WrongCall for one that does not exist."""
    if family:
        settings.policy(family)
    return (family,) if family else settings.families


def _count(differences: list[str]) -> str:
    return f"{len(differences)} difference{'s' if len(differences) > 1 else ''} from the ledger"
