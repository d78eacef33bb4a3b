"""Commands for families: the first files of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from operations.family_new import create, tasks
from operations.settings import find_settings

if TYPE_CHECKING:
    from contracts.policy import Task


@click.group()
def family() -> None:
    """Families: models of one kind that are released one after the other."""


@family.command("new")
@click.argument("name")
@click.option("--task", required=True, type=click.Choice(tasks()), help="What its models do.")
@click.option("--write-params", is_flag=True, help="Add its section to params.yaml.  [default: print it]")
def family_new(name: str, task: str, write_params: bool) -> None:
    """Write the first files of a family: an engine, and how its pack and its candidates are made.

    What is written works as it is: a small model that is trained in seconds on sounds it makes. Put your own model and
    your own recordings in their place, one after the other (docs/bring-your-own.md). Code and prints are on stdout,
    what to do next is on stderr.
    """
    made = create(find_settings(), name, cast("Task", task), write_params=write_params)
    for path in made.files:
        click.echo(path)
    if not write_params:
        click.echo("\n# below `families` in params.yaml:\n" + made.section, nl=False)
    for line in (
        "next:",
        f"  git add families params.yaml && git commit -m 'Family {name}'",
        f"  python -m {made.module}.make pack",
        f"  python -m {made.module}.make v1",
        f"  soundcheck release {name} --candidate v1",
    ):
        click.echo(line, err=True)
