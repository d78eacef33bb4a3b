"""Commands about what the store holds: garbage, what nobody may keep any longer, wheels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from operations.erase import Erased
    from registry.garbage import Collection
    from registry.store import BlobInfo

JSON = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


@click.command()
@click.option("--delete", is_flag=True, help="Delete it; without this, it is only counted.")
@click.option("--grace-days", default=7.0, show_default=True, type=click.FloatRange(1), help="Younger is left.")
@click.option("--stopped-days", default=90.0, show_default=True, type=click.FloatRange(1),
              help="After so long, a release that was never promoted loses its files.")  # fmt: skip
@JSON
def gc(delete: bool, grace_days: float, stopped_days: float, as_json: bool) -> None:
    """Count what nobody needs in the store; with --delete, delete it.

    Whatever was ever stable stays, and so does every document. Of a release that stopped long ago the files of its
    payload and bundle go, where nothing else names them; `verify` then says when.
    """
    from flows.commands.shared import light_context, progress_bars, say
    from operations.collect import collect

    with progress_bars() as progress:
        context = light_context()
        context.progress = progress
        done = collect(context, delete=delete, grace_days=grace_days, stopped_days=stopped_days)
    if as_json:
        say(_json(done, delete=delete))
        return
    click.echo(f"named by nobody: {_size(done.unnamed)}; {done.young} more are younger than {grace_days:g} days")
    click.echo(f"of releases that stopped: {_size(done.of_stopped)}")
    for one in done.stopped:
        click.echo(f"  {one.family} {one.version}: last heard of on {one.last_at[:10]}, never promoted")
    click.echo(f"kept: {done.kept} blobs, {done.kept_bytes} bytes")
    if delete:
        click.echo(f"deleted: {done.deleted} blobs, {done.deleted_bytes} bytes")
    elif done.unnamed or done.of_stopped:
        click.echo("nothing was deleted; next step: soundcheck gc --delete", err=True)


def _size(blobs: tuple[BlobInfo, ...]) -> str:
    return f"{len(blobs)} blobs, {_bytes(blobs)} bytes"


def _bytes(blobs: Iterable[BlobInfo]) -> int:
    return sum(info.size for info in blobs)


def _json(done: Collection, *, delete: bool) -> dict[str, Any]:
    return {
        "unnamed": {"blobs": len(done.unnamed), "bytes": _bytes(done.unnamed)},
        "stopped": {
            "blobs": len(done.of_stopped),
            "bytes": _bytes(done.of_stopped),
            "releases": [
                {"family": one.family, "version": one.version, "bundle": one.bundle, "last_at": one.last_at}
                for one in done.stopped
            ],
        },
        "young": {"blobs": done.young},
        "kept": {"blobs": done.kept, "bytes": done.kept_bytes},
        "deleted": {"blobs": done.deleted, "bytes": done.deleted_bytes} if delete else None,
    }


@click.command()
@click.option("--digest", required=True, help="SHA-256 of the content: a golden fixture, a file of a payload, data.")
@click.option("--key", required=True, help="Name of your key; an operator's or an approver's.")
@click.option("--reason", required=True, help='"consent withdrawn by ..."; the tombstone keeps it.')
@JSON
def erase(digest: str, key: str, reason: str, as_json: bool) -> None:
    """Erase content for good, because somebody withdrew consent; what depended on it says so from now on.

    DVC's objects go too, in the remotes that can be reached. Packs and folders that were restored keep their copies:
    delete them there. Other machines' caches follow when a bundle is next used there.
    """
    from operations.erase import erase as operation

    _say_erased(operation, digest, key, reason, as_json=as_json, done="erased; no bundle can store it again")


@click.command()
@click.option("--digest", required=True, help="SHA-256 of the content that was erased.")
@click.option("--key", required=True, help="Name of your key; an operator's or an approver's.")
@click.option("--reason", required=True, help='"consent given anew by ..."; the store keeps it.')
@JSON
def consent(digest: str, key: str, reason: str, as_json: bool) -> None:
    """Let content that was erased be stored again, because consent was given anew."""
    from operations.erase import consent as operation

    _say_erased(operation, digest, key, reason, as_json=as_json, done="may be stored again")


def _say_erased(
    operation: Callable[..., Erased], digest: str, key: str, reason: str, *, as_json: bool, done: str
) -> None:
    from flows.commands.shared import light_context, say

    erased = operation(light_context(), digest, key_name=key, reason=reason)
    if as_json:
        uses = [{**use._asdict(), "usable": not use.unusable} for use in erased.uses]
        say({**erased._asdict(), "uses": uses, "copies": erased.copies._asdict()})
        return
    click.echo(f"{erased.blob}: {done}")
    for use in erased.uses:
        left = "cannot be used any longer" if use.unusable else "stays usable"
        click.echo(f"  {use.family} {use.version} ({use.bundle[:12]}), {', '.join(use.paths)}: {left}")
    for family in erased.trained:
        click.echo(f"  {family}: it is, or lists, training data")
    for copy in erased.copies.removed:
        click.echo(f"  deleted: {copy}")
    for copy in erased.copies.left:
        click.echo(f"  left: {copy}")


@click.command()
@click.argument("lock", required=False)
@JSON
def wheels(lock: str | None, as_json: bool) -> None:
    """Keep what serving needs of a runtime lock in the store, as wheels for machines like this one.

    LOCK is a file, or the digest of a lock that is in the store; the project's requirements.lock without it. pip
    gathers them, from where it is configured to look. `soundcheck restore BUNDLE --with-wheels DIR` brings them back.
    """
    from flows.commands.shared import light_context, progress_bars, say
    from operations.wheels import keep, read_lock

    with progress_bars() as progress:
        context = light_context()
        context.progress = progress
        kept = keep(context, read_lock(context, lock))
    found = kept.wheelhouse
    if as_json:
        say({
            "lock": found.lock, "platform": found.platform, "envelope": kept.envelope, "gathered": kept.gathered,
            "bytes": found.size(), "wheels": {name: entry.sha256 for name, entry in found.wheels.items()},
        })  # fmt: skip
        return
    word = "gathered and kept" if kept.gathered else "kept already"
    click.echo(f"lock {found.lock}, {found.platform}: {len(found.wheels)} wheels, {found.size()} bytes, {word}")
