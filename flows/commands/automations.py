"""`soundcheck automations apply`, `list` and `notify`: what happens by itself when something is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


@click.group()
def automations() -> None:
    """What happens by itself when a canary is not watched, a budget burns or drift is found (docs/automations.md)."""


@automations.command()
def apply() -> None:
    """Make the Prefect server have what automations.yaml says; `soundcheck up` does the same.

    What a person paused stays paused; automations that are not of Soundcheck are not touched.
    """
    _apply()


@automations.command("list")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def list_(as_json: bool) -> None:
    """Each automation: whether it is active, when it acts, what it runs, and who is called.

    Exit status: 0 all are active, 1 one is paused, changed, missing, or not in the file.
    """
    from operations.settings import find_settings

    with _server() as client:
        from flows.automations import listed

        rows = listed(client, find_settings().root)
    if as_json:
        from flows.commands.shared import say

        say([row._asdict() for row in rows])
    else:
        for row in rows:
            click.echo(f"{row.name:<18} {row.state:<15} {row.when}")
            if row.runs:
                click.echo(f"{'':<18} runs {row.runs}, calls {row.calls}")
    raise SystemExit(int(any(row.state != "active" for row in rows)))


@automations.command()
@click.argument("whom", type=click.Choice(["page", "ticket"]))
@click.option("--url", prompt="webhook URL", hide_input=True, help="Asked for where it is not given.")
def notify(whom: str, url: str) -> None:
    """Call a webhook for each page, or for each ticket, and apply the automations.

    It gets a POST with {"subject": ..., "body": ...}: counts and rates, no label of a request. For a pager or a chat of
    its own kind, make a notification block named soundcheck-page or soundcheck-ticket in Prefect, then apply.
    """
    with _server():
        from flows.automations import call_webhook

        call_webhook(whom, url)
    _apply()


def _apply() -> None:
    from operations.settings import find_settings

    with _server() as client:
        from flows.automations import apply as operation

        done = operation(client, find_settings().root)
    for name, change in done.items():
        click.echo(f"{name:<18} {change}")


def _server() -> SyncPrefectClient:
    """A client of the embedded Prefect server, or of the one that PREFECT_API_URL names."""
    from flows.wiring import use_prefect
    from operations.settings import find_settings

    use_prefect(find_settings())
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)
