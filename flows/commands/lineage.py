"""Commands for lineage: the ledger's events, forwarded to an OpenLineage collector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from contracts.errors import WrongCall
from flows.commands.shared import light_context, progress_bars, say

if TYPE_CHECKING:
    from operations.context import Context
    from registry.lineage_transport import Forwarder


@click.group()
def lineage() -> None:
    """Lineage: ledger events sent to Marquez, or to any other OpenLineage collector.

    The collector is `lineage: {url: ...}` of params.yaml, or OPENLINEAGE_URL. Events are sent as they are appended;
    what a collector missed while it was away stays in the ledger, and is sent by the next release or by `send`.
    """


@lineage.command("send")
@click.argument("families", nargs=-1, metavar="[FAMILY]...")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout: events sent, by family.")
def lineage_send(families: tuple[str, ...], as_json: bool) -> None:
    """Send what the collector has not had yet, in order; of all families, or of those named.

    Exit status: 0 all is sent, 2 no collector is configured, 3 the collector did not take an event.
    """
    from flows.wiring import lineage_forwarder

    context = light_context()
    forwarder = lineage_forwarder(context.settings, context.store)
    if forwarder is None:
        raise WrongCall(
            "no OpenLineage collector is configured",
            where="params.yaml: lineage.url, or OPENLINEAGE_URL",
            next_step="lineage: {url: http://localhost:5000} in params.yaml",
        )
    sent = {family: _send(context, forwarder, family) for family in families or context.settings.families}
    if as_json:
        say(sent)
        return
    for family, count in sent.items():
        click.echo(f"{family}: {count} event{'' if count == 1 else 's'} sent")


def _send(context: Context, forwarder: Forwarder, family: str) -> int:
    context.settings.policy(family)
    last = context.ledger(family).state().sequence + 1
    with progress_bars() as progress:
        return forwarder.send(family, lambda done: progress(f"lineage {family}", done, last))
