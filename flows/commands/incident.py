"""`soundcheck incident open`, `update`, `close` and `list`: they need neither Prefect nor MLflow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, get_args

import click

from contracts.incident import Added

if TYPE_CHECKING:
    from operations.context import Context
    from operations.incident import Opened

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
OPEN_BY = "soundcheck incident open FAMILY --since 30m"


class Lasting(click.ParamType[float]):
    """`30m`, `2h`, `90s`, `1d` as seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds of a duration."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d{1,6})([smhd])", str(value))
        if found is None:
            self.fail("a duration is a number and s, m, h or d: 30m", param, ctx)
        return float(found[1]) * SECONDS[found[2]]


@click.group()
def incident() -> None:
    """What is known of an incident, what to do first, and what it leaves behind (docs/incidents.md)."""


@incident.command("open")
@click.argument("family")
@click.option("--since", type=Lasting(), default=1800.0, show_default="30m", help="How far back it began: 30m, 2h.")
@click.option("--replay/--no-replay", "with_replay", default=True, help="Play golden fixtures through both bundles.")
@click.option("--json", "as_json", is_flag=True, help="The packet as JSON on stdout.")
def open_(family: str, since: float, with_replay: bool, as_json: bool) -> None:
    """Declare an incident: who is hurt, what got worse, where, and the first action with its reason.

    Writes HOME/incidents/ID with packet.md, packet.json and index.html: counts, rates and versions, nobody's text.

    Exit status: 0 the first action is to continue, 1 it is anything else.
    """
    from flows.commands.shared import light_context
    from operations.incident import open_incident

    _tell(open_incident(light_context(), family, since_s=since, with_replay=with_replay), as_json)


@incident.command()
@click.argument("name", metavar="ID")
@click.option("--replay/--no-replay", "with_replay", default=False, help="Play golden fixtures through both bundles.")
@click.option("--json", "as_json", is_flag=True, help="The packet as JSON on stdout.")
def update(name: str, with_replay: bool, as_json: bool) -> None:
    """Look again, from where the incident began until now; exit status as of `open`."""
    from flows.commands.shared import light_context
    from operations.incident import update as operation

    _tell(operation(light_context(), name, with_replay=with_replay), as_json)


@incident.command()
@click.argument("name", metavar="ID")
@click.option("--added", type=click.Choice(get_args(Added)), help="What would have caught it earlier.")
@click.option("--note", default="", help="What it catches, in a sentence without names or transcripts.")
def close(name: str, added: Added | None, note: str) -> None:
    """Close an incident by naming what was added; the change is written as a file that is ready to be merged.

    \b
      soundcheck incident close 20261120-140231-3f9a0c11 --added gate --note "churn of phones is judged"
    """
    from flows.commands.shared import light_context
    from operations.incident_change import close_with

    if added is None or not note.strip():
        raise click.UsageError(
            f"an incident is closed with what was added: --added {'|'.join(get_args(Added))} --note TEXT"
        )
    opened = close_with(light_context(), name, added=added, note=note)
    closed = opened.incident.closed
    assert closed is not None
    click.echo(f"{opened.incident.incident} is closed; {added}: {opened.folder / closed.file}")


@incident.command("list")
@click.option("--json", "as_json", is_flag=True, help="The newest revision of each, as JSON on stdout.")
def list_(as_json: bool) -> None:
    """Every incident, the newest first, with when people hear the next time."""
    from flows.commands.shared import light_context, say
    from operations.incident import incidents
    from pages.incident import listing

    context = light_context()
    found = incidents(context)
    if as_json:
        say([one.as_json() for one in found])
        return
    carried = {name: version for family in context.settings.families for name, version in _versions(context, family)}
    lines = listing(found, context.timestamp(), carried)
    click.echo("\n".join(lines) if found else f"no incident yet; {OPEN_BY}")


def _versions(context: Context, family: str) -> Iterable[tuple[str, str]]:
    """Each closed incident of a family, and the version of the release that carries its change."""
    from operations.incident_change import carriers

    releases = context.ledger(family).state().releases
    for name, release in carriers(context, family).items():
        yield name, releases[release].version if release in releases else release[:12]


def _tell(opened: Opened, as_json: bool) -> None:
    from flows.commands.shared import say
    from pages.incident import headline

    found = opened.incident
    if as_json:
        say(found.as_json())
    else:
        said = found.recommendation
        click.echo(f"{found.incident}  {said.action.replace('_', ' ').upper()}  {said.reason}")
        click.echo(f"  {headline(found)}")
        for title, sentences in (("fact", found.facts[1:6]), ("hypothesis", found.hypotheses[:3])):
            for sentence in sentences:
                click.echo(f"  {title:<11} {sentence}")
        click.echo(f"  run         {said.command}")
        click.echo(f"  next update {found.next_update_at or 'none'}")
        click.echo(f"  packet      {opened.folder / 'index.html'}")
    raise SystemExit(int(found.recommendation.action != "continue"))
