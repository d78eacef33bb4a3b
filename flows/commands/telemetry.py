"""Commands about telemetry."""

from __future__ import annotations

import click


@click.group()
def telemetry() -> None:
    """Keep what gateways write about requests: one row each, without text (docs/telemetry.md)."""


@telemetry.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def tidy(as_json: bool) -> None:
    """Make one file of each hour that is over, and delete what is older than params.yaml says (telemetry.days).

    The deployment `telemetry-hourly` does the same every hour. Readers may go on meanwhile, and a run that was
    interrupted has lost nothing.
    """
    from flows.commands.shared import light_context, say
    from operations.telemetry import tidy as operation

    done = operation(light_context())
    if as_json:
        say(done._asdict())
        return
    click.echo(f"hours made one file: {done.hours}, of {done.replaced} segments")
    click.echo(f"events that found their family: {done.settled_events}")
    click.echo(f"days deleted: {done.days}")
