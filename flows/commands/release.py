"""`soundcheck release` and `soundcheck approve`."""

from __future__ import annotations

import click


@click.command()
@click.argument("family")
@click.option("--candidate", default="latest", show_default=True, help="A candidate folder, a version, or `latest`.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as JSON on stdout.")
def release(family: str, candidate: str, as_json: bool) -> None:
    """Release a candidate: capture, register, score, gate, package, stage, canary, approve, promote.

    Steps that the ledger already has are not done again, so that the same command goes on where a release was
    interrupted. Needs the servers of `soundcheck up`. The release pauses for approval: use the form whose address is
    printed, or `soundcheck approve`.
    """
    from flows.commands.shared import progress_bars, say
    from flows.wiring import use_prefect
    from operations.candidate import find
    from operations.settings import find_settings

    settings = find_settings()
    settings.policy(family)
    find(settings, family, candidate)
    known = use_prefect(settings)
    from flows.running import run_release

    with progress_bars() as progress:
        ended = run_release(family, candidate, known, progress, lambda text: click.echo(text, err=True))
    if as_json:
        say(ended.as_json())
    else:
        click.echo(ended.text)
    raise SystemExit(ended.exit_status)


@click.command()
@click.argument("family")
@click.option("--key", required=True, help="Name of your key (soundcheck keys new NAME).")
@click.option("--evidence", required=True, help="Digest of the evidence, as the form and `status` show it.")
@click.option("--decision", required=True, type=click.Choice(["promote", "hold", "reject"]),
              help="hold asks again, reject is final.")  # fmt: skip
@click.option("--note", default="", help="Why; the approval keeps it.")
def approve(family: str, key: str, evidence: str, decision: str, note: str) -> None:
    """Sign a decision about exactly this evidence. Works while Prefect is down: the release reads the ledger."""
    from typing import cast

    from contracts.approval import Decision
    from flows.commands.shared import light_context
    from operations.approve import record

    context = light_context()
    context.settings.policy(family)
    record(context, family, evidence, decision=cast(Decision, decision), key_name=key, note=note)
    from operations.stack import addresses

    if addresses(context.home).prefect:
        from flows.wiring import use_prefect

        use_prefect(context.settings)
        from flows.running import wake

        wake(family, decision, note)
    click.echo(f"{decision} is signed by {key} and in the ledger of {family}")
