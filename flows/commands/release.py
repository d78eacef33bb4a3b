"""`soundcheck release`, `soundcheck approve` and `soundcheck waive`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from operations.context import Context


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
@click.option("--reviewed", multiple=True, help="A high-risk slice you looked at (PACK/SLICE); once for each.")
def approve(family: str, key: str, evidence: str, decision: str, note: str, reviewed: tuple[str, ...]) -> None:
    """Sign a decision about exactly this evidence. Works while Prefect is down: the release reads the ledger."""
    from typing import cast

    from contracts.approval import Decision
    from flows.commands.shared import light_context
    from operations.approve import record

    context = light_context()
    context.settings.policy(family)
    record(
        context, family, evidence, decision=cast(Decision, decision), key_name=key, note=note, reviewed_slices=reviewed
    )
    from operations.stack import addresses

    if addresses(context.home).prefect:
        from flows.wiring import use_prefect

        use_prefect(context.settings)
        from flows.running import wake

        wake(family, decision, note)
    click.echo(f"{decision} is signed by {key} and in the ledger of {family}")


@click.command()
@click.argument("family")
@click.option("--key", help="Name of your key; its holder must be an approver.")
@click.option("--pack", help="The eval pack of the comparison.")
@click.option("--slice", "slice_name", help="Its slice, as the report names it, in quotes where it has a `&`.")
@click.option("--metric", help="Its metric: wer, intent_recall, ...")
@click.option("--baseline", type=click.Choice(["stable", "parent"]), default="stable", show_default=True,
              help="Whom it compares with; parent is the full-precision model of a quantized one.")  # fmt: skip
@click.option("--reason", help="Why it may go on; the report shows it.")
@click.option("--release", "stopped", default="", help="Version of the release  [default: the last one that stopped]")
@click.option("--list", "listed", is_flag=True, help="What was waived, and what waits for a waiver.")
def waive(listed: bool, family: str, stopped: str, **given: str | None) -> None:
    """Sign that an inconclusive comparison of a stopped release may go on; `soundcheck release` then continues it.

    A waiver is for one comparison of one candidate under one policy. What failed is never waived.

    \b
    Example:
      soundcheck waive asr-commands --key anna --pack commands --slice accent=welsh --metric wer \\
          --reason "three Welsh speakers are all there are; they were listened to"
    """
    from typing import cast

    from contracts.reports import Baseline
    from flows.commands.shared import light_context
    from operations import waive as operation

    context = light_context()
    context.settings.policy(family)
    if listed:
        _list_waivers(context, family)
        return
    wanted = {"--key": "key", "--pack": "pack", "--slice": "slice_name", "--metric": "metric", "--reason": "reason"}
    missing = [option for option, name in wanted.items() if not given[name]]
    if missing:
        raise click.UsageError(f"missing {', '.join(missing)}; or --list alone")
    pack, slice_name, metric, baseline, key, reason = (
        given[name] or "" for name in ("pack", "slice_name", "metric", "baseline", "key", "reason")
    )
    subject = operation.Subject(pack, slice_name, metric, cast(Baseline, baseline))
    signed = operation.waive(context, family, subject, key_name=key, reason=reason, release=stopped)
    click.echo(f"{subject} is waived by {signed.approver} and in the ledger of {family}")
    for command in operation.waiting(context, family):
        click.echo(f"still inconclusive: {command}")


def _list_waivers(context: Context, family: str) -> None:
    from operations.waive import known_waivers, subject_of, waiting

    known = known_waivers(context, family)
    for one in known:
        state = f"does not hold: {one.fault}" if one.fault else "holds"
        waiver = one.waiver
        click.echo(
            f"{waiver.at}  {one.version}: {subject_of(waiver)}, by {waiver.approver}: {waiver.reason}  ({state})"
        )
    if not known:
        click.echo(f"nothing of {family} was waived")
    for command in waiting(context, family):
        click.echo(f"inconclusive: {command}")
