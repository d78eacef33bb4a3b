"""The command that plans capacity: what a first response is spent on, and how many sessions a core carries."""

from __future__ import annotations

import click


@click.command()
@click.argument("family")
@click.option("--candidate", default=None, metavar="DIR", help="This candidate; else the stable bundle.")
@click.option("--budget-ms", type=click.FloatRange(min=1), default=700.0, show_default=True,
              help="From the end of speech to the first sound of the reply, p95.")  # fmt: skip
@click.option("--network-ms", type=click.FloatRange(min=0), default=40.0, show_default=True, help="One way.")
@click.option("--endpoint-ms", type=click.FloatRange(min=0), default=300.0, show_default=True,
              help="Silence after which a turn has ended.")  # fmt: skip
@click.option("--playback-ms", type=click.FloatRange(min=0), default=40.0, show_default=True,
              help="What a client gathers before it plays.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON on stdout.")
def capacity(
    family: str,
    candidate: str | None,
    budget_ms: float,
    network_ms: float,
    endpoint_ms: float,
    playback_ms: float,
    as_json: bool,
) -> None:
    """Plan a spoken assistant's first response: measured stages, what overlaps, sessions a core. Draws a page.

    Exit status 1 where p95 does not fit the budget.
    """
    from contracts.capacity import Assumed
    from flows.commands.shared import progress_bars, say
    from flows.wiring import open_context
    from operations.capacity import capacity as operation
    from operations.capacity import page_path

    assumed = Assumed(network_ms=network_ms, endpoint_ms=endpoint_ms, playback_ms=playback_ms)
    with progress_bars() as progress:
        context = open_context(progress)
        plan = operation(context, family, assumed=assumed, candidate=candidate, budget_ms=budget_ms)
    if as_json:
        say(plan.as_json())
    else:
        for one in plan.schedules:
            fits = "fits" if one.headroom_ms >= 0 else "does not fit"
            used = ", in use" if one.in_use else ""
            click.echo(f"{one.name}{used}: p50 {one.p50_ms:.0f} ms, p95 {one.p95_ms:.0f} ms, {fits}")
            click.echo(f"  headroom {one.headroom_ms:.0f} ms of {plan.budget_ms:.0f} ms")
        click.echo(f"sessions a core within the budget: {plan.sessions_per_core}")
        click.echo(f"page: {page_path(context, family)}")
    raise SystemExit(int(not any(one.in_use and one.headroom_ms >= 0 for one in plan.schedules)))
