"""Commands for keys and eval packs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import click

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
EFFECT = 0.03
"""Rise of WER, a fraction, that a pack is planned to find."""


@click.group()
def keys() -> None:
    """Keys of approvers, operators, the builder and API clients; the key ring.

    The key ring lies in the store. Each of its versions is signed by root keys; the first root key is made in HOME/keys
    at first use: keep a copy of it in a safe place, without it nobody can be enrolled or revoked.
    """


ROLE = click.Choice(["approver", "builder", "operator", "root"])
REASON = click.Choice(["compromised", "retired"])


@keys.command("new")
@click.argument("name")
@click.option("--role", "roles", multiple=True, type=ROLE, default=("approver", "operator"), show_default=True)
def keys_new(name: str, roles: tuple[str, ...]) -> None:
    """Make an ed25519 key: the private half stays in HOME/keys, the public half goes into the key ring."""
    from flows.commands.shared import light_context
    from operations.keys import new

    made = new(light_context(), name, roles)
    click.echo(f"{name}: key {made.key_id[:12]} with the roles {', '.join(roles)}")


@keys.command("enrol")
@click.argument("public", type=EXISTING)
@click.option("--role", "roles", multiple=True, type=ROLE, required=True)
def keys_enrol(public: Path, roles: tuple[str, ...]) -> None:
    """Let the key of somebody else sign: PUBLIC is the NAME.pub that `keys new` wrote on their machine."""
    from flows.commands.shared import light_context
    from operations.keys import enrol_file

    enrolled = enrol_file(light_context(), public, roles)
    click.echo(f"{public.stem} is enrolled; the key ring is at version {enrolled.version}")


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def keys_list(as_json: bool) -> None:
    """The key ring: version and digest, quorums, every key with its roles, and which are revoked."""
    from flows.commands.shared import light_context, say
    from operations.keys import ring

    known = ring(light_context())
    if as_json:
        say({**known.as_json(), "digest": known.digest()})
        return
    quorums = f"quorums: root {known.quorums.root}, approver {known.quorums.approver}"
    click.echo(f"key ring version {known.version}, {known.digest()[:12]}; {quorums}")
    for key in known.keys:
        revoked = f"  revoked: {key.revoked.reason}, {key.revoked.at}" if key.revoked else ""
        click.echo(f"{key.name:<20} {key.key_id[:12]}  {', '.join(key.roles)}{revoked}")


@keys.command("revoke")
@click.argument("name")
@click.option("--reason", type=REASON, default="compromised", show_default=True, help="Of a compromised key, decisions "
              "and waivers that stand in the ledger are refused too; bundles stay restorable.")  # fmt: skip
@click.option("--since", "since", multiple=True, metavar="FAMILY=SEQUENCE", help="The last ledger event that the key "
              "may have signed.  [default: the last one there is]")  # fmt: skip
def keys_revoke(name: str, reason: str, since: tuple[str, ...]) -> None:
    """Revoke a key: what it signs from now on is refused."""
    from flows.commands.shared import light_context
    from operations.keys import revoke

    revoke(light_context(), name, "compromised" if reason == "compromised" else "retired", dict(map(_place, since)))
    click.echo(f"{name} is revoked")


def _place(text: str) -> tuple[str, int]:
    family, _, sequence = text.partition("=")
    if not family or not sequence.isdecimal():
        raise click.BadParameter(f"{text!r} is not FAMILY=SEQUENCE", param_hint="--since")
    return family, int(sequence)


@keys.command("rotate")
@click.argument("name")
def keys_rotate(name: str) -> None:
    """Give NAME a new key with the same roles; what the old one has signed stays signed."""
    from flows.commands.shared import light_context
    from operations.keys import rotate

    click.echo(f"{name}: key {rotate(light_context(), name).key_id[:12]} takes the place of the old one")


@keys.command("policy")
@click.option("--root", type=click.IntRange(1), default=None, help="Root keys that must sign a change of the key ring.")
@click.option("--approver", type=click.IntRange(1), default=None, help="Approvals of a release, at least: a family's "
              "policy may ask for more, never for fewer.")  # fmt: skip
@click.option("--compromised", type=click.Choice(["refuse", "keep_earlier"]), default=None, help="Decisions that stood "
              "in the ledger before their key was revoked as compromised.")  # fmt: skip
def keys_policy(root: int | None, approver: int | None, compromised: Literal["refuse", "keep_earlier"] | None) -> None:
    """Show or change how many people must agree, and what a stolen key's earlier decisions count for."""
    from flows.commands.shared import light_context
    from operations.keys import ring, set_policy

    context = light_context()
    changed = root is not None or approver is not None or compromised is not None
    known = set_policy(context, root=root, approver=approver, compromised=compromised) if changed else ring(context)
    quorums = f"quorums: root {known.quorums.root}, approver {known.quorums.approver}"
    click.echo(f"{quorums}; earlier decisions of a compromised key: {known.compromised}")


@keys.command("sign")
@click.argument("draft", type=EXISTING)
def keys_sign(draft: Path) -> None:
    """Sign a change of the key ring that needs several root keys; the last one to sign publishes it."""
    from flows.commands.shared import light_context
    from operations.keys import sign_draft

    click.echo(f"the key ring is at version {sign_draft(light_context(), draft).version}")


@keys.command("api")
@click.argument("name")
def keys_api(name: str) -> None:
    """Make an API key for a client of the gateway (or show the one it has)."""
    from operations.keys import ensure_api_key
    from operations.settings import find_settings

    click.echo(ensure_api_key(find_settings().home, name))


@click.group()
def pack() -> None:
    """Eval packs: what a release is judged by."""


class _BuildCommand(click.Command):
    """Lists the packs that can be built, when somebody asks."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from operations.packs import BUILDERS

        del ctx
        with formatter.section("Packs"):
            formatter.write_dl([(name, builder.about) for name, builder in BUILDERS.items()])


@pack.command("build", cls=_BuildCommand)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Every pack of the list below.")
def pack_build(names: tuple[str, ...], everything: bool) -> None:
    """Make or fetch packs into data/packs/NAME, replacing what is there."""
    from flows.commands.shared import progress_bars
    from flows.wiring import open_context
    from operations.packs import BUILDERS, build

    if bool(names) == everything:
        raise click.UsageError("Name the packs to build, or say --all.")
    with progress_bars() as progress:
        context = open_context(progress)
        for made in (build(context, name) for name in (BUILDERS if everything else names)):
            click.echo(f"{made.name} {made.digest[:12]}: {len(made.utterances)} utterances in {made.root}")


@pack.command("show")
@click.argument("name")
def pack_show(name: str) -> None:
    """What a pack holds: speakers, words and minutes of every slice."""
    from evalpacks.pack import load
    from flows.commands.pack_text import contents
    from operations.pack_audit import pack_folder

    _print(contents(load(pack_folder(name))))


@pack.command("new")
@click.argument("name")
@click.option("--from", "source", required=True, type=FOLDER, help="Folder of mono 16-bit WAV or FLAC recordings.")
@click.option("--table", type=EXISTING, default=None, help="CSV, JSON Lines or Parquet: path or utterance_id, text, "
              "speaker, slice columns.  [default: utterances.* of the folder]")  # fmt: skip
@click.option("--source", "origin", required=True, help="Where the recordings come from, in words.")
@click.option("--licence", required=True, help="What they may be used for, e.g. CC-BY-4.0.")
@click.option("--consent", required=True, help="What the speakers agreed to, in words.")
@click.option("--title", default=None, help="One line that describes the pack.  [default: its name]")
@click.option("--language", default=None, help="ISO 639 code of all utterances; without it the table has `language`.")
@click.option("--slices", default="", help="Columns of the table whose values are slices, separated by commas.")
@click.option("--protected", multiple=True, metavar="SLICE", help="A slice that must not get worse, e.g. accent=us.")
@click.option("--high-risk", multiple=True, metavar="SLICE", help="A slice that always asks for manual review.")
@click.option("--min-speakers", type=click.IntRange(1), default=10, show_default=True, help="Of a protected slice.")
@click.option("--min-words", type=click.IntRange(1), default=100, show_default=True, help="Of a protected slice.")
@click.option("--show-transcripts", is_flag=True, help="Consent and licence let reports show transcripts.")
def pack_new(name: str, source: Path, table: Path | None, language: str | None, **options: Any) -> None:
    """Make a pack of recordings and a table.

    The pack is data/packs/NAME. The table has a line for each recording: what is said in it, and by whom. Recordings
    are copied as they are (FLAC is decoded); other forms are refused with the way to convert them. Ends with what
    `soundcheck pack check` says, and with its exit status.
    """
    from evalpacks.pack_new import create
    from flows.commands.pack_text import taken
    from flows.commands.shared import progress_bars
    from operations.pack_audit import new_folder

    card = {
        "name": name,
        "title": options["title"] or name,
        "source": options["origin"],
        "licence": options["licence"],
        "consent": options["consent"],
        "slices": [column for column in options["slices"].split(",") if column],
        "protected": options["protected"],
        "high_risk": options["high_risk"],
        "min_support": {"speakers": options["min_speakers"], "words": options["min_words"]},
        "show_transcripts": options["show_transcripts"],
    }
    target = new_folder(name)
    with progress_bars() as progress:
        made = create(
            target, source=source, table=table, card=card, language=language,
            on_progress=lambda done, total: progress(f"pack {name}", done, total),
        )  # fmt: skip
    _print(taken(made))
    _check(str(target), against=(), normalizer=None, effect=EFFECT, as_json=False)


@pack.command("check")
@click.argument("name")
@click.option("--against", multiple=True, type=EXISTING, help="A training data manifest (sha256, speaker) that the "
              "pack must share nothing with.  [default: those of the project's candidates]")  # fmt: skip
@click.option("--normalizer", type=click.Choice(["none", "basic", "english"]), default=None,
              help="That scores the pack.  [default: those of the families it judges, else none]")  # fmt: skip
@click.option("--effect", type=click.FloatRange(0.01, 1, min_open=True), default=EFFECT, show_default=True,
              help="Rise of WER that it should find (0.03 is 3 points).")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def pack_check(name: str, against: tuple[Path, ...], normalizer: str | None, effect: float, as_json: bool) -> None:
    """Is a pack fit to judge a release?

    NAME is that of a pack of the project, or a folder. Says what is wrong with it, and which differences it could show.

    Exit status: 0 no error (warnings may be there), 1 errors, 2 there is no such pack.
    """
    _check(name, against=against, normalizer=normalizer, effect=effect, as_json=as_json)


def _check(name: str, *, against: tuple[Path, ...], normalizer: str | None, effect: float, as_json: bool) -> None:
    from flows.commands.pack_text import report
    from flows.commands.shared import progress_bars, say
    from operations.pack_audit import audit

    with progress_bars() as progress:
        found = audit(
            name, against=against, normalizer=normalizer, effect=effect,
            on_progress=lambda done, total: progress("recordings", done, total),
        )  # fmt: skip
    if as_json:
        say(found.as_json())
    else:
        _print(report(found))
    raise SystemExit(int(found.count("error") > 0))


@pack.command("diff")
@click.argument("before")
@click.argument("after")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def pack_diff(before: str, after: str, as_json: bool) -> None:
    """What changed from one pack to another?

    Each is the name of a pack of the project, or a folder. Says also whether scores on both can be compared.

    Exit status: 0 the same pack, 1 different.
    """
    from evalpacks.pack import load
    from evalpacks.pack_diff import diff
    from flows.commands.pack_text import difference
    from flows.commands.shared import say
    from operations.pack_audit import pack_folder

    found = diff(load(pack_folder(before)), load(pack_folder(after)))
    if as_json:
        say(found.as_json())
    else:
        _print(difference(found, (before, after)))
    raise SystemExit(int(not found.equal))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)
