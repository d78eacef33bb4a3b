"""The command that shows a bundle's rollback packet."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("name", metavar="FAMILY|BUNDLE")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the page to this file.")
def packet(name: str, html: Path | None) -> None:
    """Who is on call, what to run, what to check, what to say: the packet of a bundle, or of a family's stable one.

    Works with Prefect and MLflow down. Without --html it is JSON on stdout.
    """
    from flows.commands.shared import light_context, say
    from operations import rollback_packet
    from operations.rollback import find_family
    from pages.rollback_packet import render

    context = light_context()
    if name in context.settings.families:
        family, bundle = name, rollback_packet.stable_bundle(context, name)
    else:
        family, bundle = find_family(context, name)
    view = rollback_packet.find(context, family, bundle)
    if html is None:
        say(view.packet.as_json())
        return
    html.write_text(render(view))
    click.echo(str(html))
