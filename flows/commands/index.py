"""Commands over the voiceprints of a family of embeddings: what is enrolled in which vector space."""

from __future__ import annotations

from pathlib import Path

import click

RECORDING = click.Path(exists=True, dir_okay=False, path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


@click.group()
def index() -> None:
    """Voiceprints of a family of embeddings: one index a vector space, all of them written at once."""


@index.command()
@click.argument("family")
@JSON
def status(family: str, as_json: bool) -> None:
    """Each vector space that has an index: components, voiceprints, the bundle that writes it, whether it is served."""
    from flows.commands.shared import light_context, say
    from operations.migration.voiceprints import held

    rows = [one._asdict() for one in held(light_context(), family)]
    if as_json:
        say(rows)
        return
    for row in rows:
        said = "{space:<24} {dimension:>4} components  {voiceprints:>6} voiceprints  written by {version}".format(**row)
        click.echo(said + ("  served" if row["served"] else ""))


@index.command()
@click.argument("family")
@click.argument("recordings", nargs=-1, required=True, type=RECORDING)
@click.option("--as", "key", required=True, help="The pseudonym that a search answers with.")
def enrol(family: str, recordings: tuple[Path, ...], key: str) -> None:
    """Enrol somebody by recordings of their voice, in every index of the family."""
    from flows.commands.shared import light_context
    from operations.migration.voiceprints import enrol as operation

    click.echo("enrolled in " + ", ".join(operation(light_context(), family, key, recordings)))


@index.command()
@click.argument("family")
@click.argument("recording", type=RECORDING)
@click.option("--bundle", help="A version or digest whose model embeds the recording; default: the stable one.")
@click.option("--count", type=click.IntRange(min=1), default=5, show_default=True, help="How many, best first.")
@JSON
def search(family: str, recording: Path, bundle: str | None, count: int, as_json: bool) -> None:
    """Who speaks in a recording: searched in the vector space of the bundle that embeds it, and in no other."""
    from flows.commands.shared import light_context, say
    from operations.migration.voiceprints import find

    space, matches = find(light_context(), family, recording, bundle=bundle, count=count)
    if as_json:
        say({"space": space, "matches": [match._asdict() for match in matches]})
        return
    click.echo(f"in {space}")
    for match in matches:
        click.echo(f"{match.score:.4f}  {match.key}")


@index.command()
@click.argument("family")
@click.argument("space")
def retire(family: str, space: str) -> None:
    """Remove the index of a space that is served no longer, once the migration plan lets it go."""
    from flows.commands.shared import light_context
    from operations.migration.moving import retire as operation

    operation(light_context(), family, space)
    click.echo(f"the index of {space} is removed; bundles of that space can no longer return")
