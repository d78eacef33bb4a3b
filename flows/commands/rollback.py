"""Commands of the person on call: they call operations directly and work when Prefect and MLflow are down."""

from __future__ import annotations

from pathlib import Path

import click

JSON = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


@click.command()
@click.argument("family")
@click.option("--key", required=True, help="Name of your key (soundcheck keys new NAME).")
@click.option("--reason", required=True, help="Why; the ledger keeps it.")
@click.option("--to", default=None, help="A version or the digest of a bundle; also the way forward again.")
@click.option("--slice", "slices", multiple=True, metavar="KEY=VALUE", help="Move only these requests (device=phone).")
@JSON
def rollback(family: str, key: str, reason: str, to: str | None, slices: tuple[str, ...], as_json: bool) -> None:
    """Take a family back to its newest good bundle, or to the one that --to names.

    The target is verified and its golden outputs are proved before anything moves; not one request fails because of
    it. The bundle that is left is withdrawn: it returns by a new release or by being named.
    """
    from contracts.digest import short
    from flows.commands.shared import import_signatures, progress_bars, say
    from flows.wiring import open_context
    from operations.rollback import rollback as operation

    import_signatures()
    with progress_bars() as progress:
        context = open_context(progress)
        context.settings.policy(family)
        done = operation(context, family, key_name=key, reason=reason, to=to, slices=slices)
    if as_json:
        say(done._asdict())
        return
    if done.repeated:
        click.echo(f"{family}: already rolled back to {done.version} ({short(done.target)}) by this request; "
                   "to go further back name --to or give another reason")  # fmt: skip
        return
    word = "went forward to" if done.kind == "forward" else "rolled back to"
    click.echo(f"{family} {word} {done.version} ({short(done.target)}) from {short(done.left)}")
    click.echo(f"  golden outputs equal ({done.golden_equal} of {done.golden_expected}), proved by {done.proved_by}; "
               f"served after {done.switch_s:.2f} s, {done.total_s:.2f} s in all")  # fmt: skip
    for sentence in done.wrong:
        click.echo(f"  PAGE: after the rollback, {sentence}", err=True)
    for bundle, why in done.skipped:
        click.echo(f"  PAGE: {short(bundle)} is broken, was skipped and is condemned: {why}", err=True)


@click.command()
@click.argument("family")
@click.option("--key", required=True, help="Name of your key: it signs the rollback, if one is made.")
@JSON
def bake(family: str, key: str, as_json: bool) -> None:
    """Watch a new stable bundle through its bake time (bake_time_s of params.yaml); a breach takes the family back.

    Exit status 1: it was taken back.
    """
    from flows.commands.shared import import_signatures, progress_bars, say
    from flows.wiring import open_context
    from operations.bake import bake as operation

    import_signatures()
    with progress_bars() as progress:
        context = open_context(progress)
        context.settings.policy(family)
        done = operation(context, family, key_name=key)
    if as_json:
        say({**done._asdict(), "back": done.back._asdict() if done.back else None})
    else:
        click.echo(f"{family}: {done.outcome} after {done.watched_s:.0f} s")
        for reason in done.reasons:
            click.echo(f"  {reason}")
    raise SystemExit(int(done.outcome == "taken back"))


@click.command()
@click.argument("family", required=False)
@JSON
def status(family: str | None, as_json: bool) -> None:
    """What is stable, canary and warm, and how it came to be."""
    from flows.commands.shared import say
    from flows.wiring import open_context
    from operations.view import status_json, status_view

    context = open_context()
    names = [family] if family else list(context.settings.families)
    for name in names:
        context.settings.policy(name)
    if as_json:
        rows = [status_json(context, name) for name in names]
        say(rows[0] if family else rows)
        return
    from pages.terminal import status as text

    click.echo("\n\n".join(text(status_view(context, name)) for name in names))


@click.command()
@click.argument("bundle")
@click.option("--into", required=True, type=click.Path(path_type=Path), help="A folder that does not exist yet.")
@click.option("--with-data", is_flag=True, help="Also the exact training data, below DIR/data.")
@click.option("--with-wheels", type=click.Path(path_type=Path), metavar="DIR",
              help="Also the wheels that serving needs of its lock, into a new folder.")  # fmt: skip
@JSON
def restore(bundle: str, into: Path, with_data: bool, with_wheels: Path | None, as_json: bool) -> None:
    """Write any bundle that was ever packaged into a new folder, every byte verified.

    Exit status 1: files were erased for withdrawn consent; ABSENT.json in the folder names them.
    """
    from flows.commands.shared import light_context, progress_bars, say
    from operations.restore import restore as operation
    from operations.rollback import find_family
    from operations.wheels import INSTALL, restore_wheels
    from operations.with_data import restore_with_data

    with progress_bars() as progress:
        context = light_context()
        context.progress = progress
        family, digest = find_family(context, bundle)
        wheelhouse = restore_wheels(context, digest, with_wheels) if with_wheels else None
        if with_data:
            done, data = restore_with_data(context, family, digest, into)
        else:
            done, data = operation(context, family, digest, into), None
    if as_json:
        more = {"data": {**data._asdict(), "folder": str(data.folder)}} if data else {}
        if wheelhouse:
            more["wheels"] = {"folder": str(with_wheels), "files": len(wheelhouse.wheels), "size": wheelhouse.size()}
        say({**done._asdict(), "folder": str(done.folder), "whole": not done.absent, **more})
        raise SystemExit(int(bool(done.absent)))
    click.echo(
        f"{done.family} {done.version} ({done.bundle}): {done.files} files, every digest verified, in {done.folder}"
    )
    if data:
        click.echo(
            f"  training data: {data.files} files, {data.size} bytes, {data.utterances} utterances, each verified, "
            f"from {data.remote}, in {data.folder}"
        )
    if wheelhouse:
        click.echo(f"  {len(wheelhouse.wheels)} wheels of its lock, {wheelhouse.size()} bytes, each verified; install: "
                   + INSTALL.format(folder=with_wheels))  # fmt: skip
    for sentence in done.absent:
        click.echo(f"  NOT WHOLE: {sentence}", err=True)
    raise SystemExit(int(bool(done.absent)))


@click.command()
@click.argument("name", required=False, metavar="[FAMILY|BUNDLE]")
@JSON
def verify(name: str | None, as_json: bool) -> None:
    """Check ledger chains, bundles, signatures, pointers and the MLflow mirror; exit status 1 names every fault.

    What was erased for withdrawn consent, or collected as garbage, is said and is no fault.
    """
    from flows.commands.shared import say
    from flows.wiring import open_context
    from operations.mirror import mirror_faults
    from operations.restore import examine, examine_family
    from operations.rollback import find_family

    context = open_context()
    if name and name not in context.settings.families:
        family, bundle = find_family(context, name)
        found = {name: examine(context, family, bundle)}
        faults = {one: findings.faults for one, findings in found.items()}
    else:
        chosen = [name] if name else list(context.settings.families)
        found = {one: examine_family(context, one) for one in chosen}
        faults = {one: findings.faults + mirror_faults(context, one) for one, findings in found.items()}
    if as_json:
        say({"faults": faults, "absent": {one: findings.absent for one, findings in found.items()}})
    else:
        for one, findings in found.items():
            click.echo(f"{one}: {'clean' if not faults[one] else f'{len(faults[one])} faults'}")
            for sentence in (*faults[one], *findings.absent):
                click.echo(f"  {sentence}")
    raise SystemExit(int(any(faults.values())))


@click.command()
@click.argument("family")
@click.option("--key", default=None, help="Name of your key, for the record.")
def abort(family: str, key: str | None) -> None:
    """Stop the running canary at once; stable serves all traffic."""
    from flows.commands.shared import light_context
    from operations.canary import abort as operation

    context = light_context()
    context.settings.policy(family)
    stopped = operation(context, family, actor=key or "on call")
    click.echo(f"{family}: " + ("the canary is stopped" if stopped == "stopped" else "no canary is running"))


def _switch(family: str, step: str, said: str) -> None:
    from flows.commands.shared import light_context

    context = light_context()
    context.settings.policy(family)
    context.ledger(family).append(step, "complete", at=context.timestamp(), data={"actor": "on call"})
    click.echo(f"{family}: {said}")


@click.command()
@click.argument("family")
def freeze(family: str) -> None:
    """Forbid promotions of a family until `unfreeze`."""
    _switch(family, "freeze", "promotions are forbidden")


@click.command()
@click.argument("family")
def unfreeze(family: str) -> None:
    """Allow promotions of a family again."""
    _switch(family, "unfreeze", "promotions are allowed")


@click.command()
@click.argument("bundle")
@click.option("--reason", required=True, help="Why; the ledger keeps it.")
def condemn(bundle: str, reason: str) -> None:
    """Forbid a bundle for good: nothing is promoted or rolled back to it."""
    from flows.commands.shared import light_context
    from operations.rollback import condemn as operation
    from operations.rollback import find_family

    context = light_context()
    family, digest = find_family(context, bundle)
    operation(context, family, digest, reason=reason)
    click.echo(f"{family}: bundle {digest} is condemned")
