"""Commands that change how stable is served, without a release: less instead of nothing, small before large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from operations.context import Context
    from operations.degrade import Mode
    from operations.steering import Steered

KEY = click.option("--key", required=True, help="Name of your key (soundcheck keys new NAME).")
REASON = click.option("--reason", required=True, help="Why; the ledger keeps it.")
JSON = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


@click.command()
@click.argument("family")
@click.option("--mode", type=click.Choice(["no_partials", "smaller"]), help="What users get less of.")
@click.option("--bundle", help="For smaller: a version or digest; default: the lightest that was stable before.")
@click.option("--off", is_flag=True, help="Serve as before.")
@KEY
@REASON
@JSON
def degrade(family: str, mode: str | None, bundle: str | None, off: bool, key: str, reason: str, as_json: bool) -> None:
    """Serve less instead of nothing: streams without partials, or a smaller bundle's answers."""
    from operations.degrade import degrade as operation

    _one_of("--mode MODE", bool(mode), off)
    if bundle and mode != "smaller":
        raise click.UsageError("--bundle belongs to --mode smaller")
    wanted: Mode | None = "smaller" if mode == "smaller" else "no_partials" if mode else None
    _say(operation(_context(family), family, mode=wanted, bundle=bundle, key_name=key, reason=reason), as_json)


@click.command()
@click.argument("family")
@click.option("--small", help="A version or digest that was stable before; it hears requests first.")
@click.option("--below", type=float, default=0.8, show_default=True, help="Confidence under which stable answers.")
@click.option("--audit", type=float, default=0.02, show_default=True, help="Share of sure answers that stable checks.")
@click.option("--off", is_flag=True, help="Let stable answer everything.")
@KEY
@REASON
@JSON
def cascade(
    family: str, small: str | None, below: float, audit: float, off: bool, key: str, reason: str, as_json: bool
) -> None:
    """Let a small bundle answer the HTTP requests that it is sure of, and the stable one the rest."""
    from operations.cascade import cascade as operation

    _one_of("--small BUNDLE", bool(small), off)
    done = operation(_context(family), family, small=small, below=below, audit=audit, key_name=key, reason=reason)
    _say(done, as_json)


def _one_of(named: str, given: bool, off: bool) -> None:
    if given == off:
        raise click.UsageError(f"say either {named} or --off")


def _context(family: str) -> Context:
    from flows.commands.shared import import_signatures, light_context

    import_signatures()
    context = light_context()
    context.settings.policy(family)
    return context


def _say(done: Steered, as_json: bool) -> None:
    from flows.commands.shared import say

    if as_json:
        say(done._asdict())
        return
    how = "it was so already" if done.repeated else f"after {done.total_s:.2f} s"
    click.echo(f"{done.family}: {done.change}; route version {done.version}, {how}")
