"""`make release`: the whole story of a family in one command, on real servers and real models.

Boundary: starts the embedded stack and leaves it running; everything is done through the same functions and commands
that a person uses. With APPROVE=auto a demo key signs the approvals, else the form or `soundcheck approve` is awaited.
Invariants: run again without changes nothing is done twice; the exit status says whether the story ended as it must.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from contracts.digest import short
from contracts.errors import Refused
from flows.cli import run
from flows.commands.shared import progress_bars
from flows.stories import STORIES, Story, prepare
from flows.wiring import open_context, use_prefect
from operations.context import Context
from operations.settings import find_settings

KEY = "demo"
LOOK_S = 0.5


def main(arguments: list[str] | None = None) -> None:
    """Tell the story of a family; raises when a part did not end as it must."""
    parser = argparse.ArgumentParser(prog="python -m flows.demo", description=main.__doc__)
    parser.add_argument("--story", metavar="FAMILY[/STORY]", choices=sorted(STORIES), required=True)
    name = parser.parse_args(arguments).story
    family, story = name.partition("/")[0], STORIES[name]
    began = time.monotonic()
    _headline(f"{family}: data, training, packs")
    prepare(family, story, find_settings())
    _soundcheck("up", "--auto-ports")
    context = open_context()
    _ensure_key(context)
    _release(family, story.first, story.visitors)
    _release(family, story.better, story.visitors)
    if story.worse:
        _release(family, story.worse, story.visitors, stops=True)
    _back_and_forth(context, family, story)
    click.echo()
    _soundcheck("status", family)
    click.echo(
        f"\nthe whole story took {time.monotonic() - began:.0f} s; the servers keep running (make down stops them)"
    )


def _headline(text: str) -> None:
    click.secho(f"\n== {text}", bold=True)


def _soundcheck(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "flows.cli", *words], check=True)


def _ensure_key(context: Context) -> None:
    from operations import keys

    if keys.ring(context).active(KEY) is None:
        keys.new(context, KEY, ("approver", "operator"))


def _release(family: str, version: str, visitors: int, *, stops: bool = False) -> None:
    """One release in this process, with live traffic while its canary runs."""
    _headline(f"{family}: release {version}" + (" (it must be stopped)" if stops else ""))
    context = open_context()
    known = use_prefect(context.settings)
    from flows.running import run_release

    try:
        with _company(family, visitors), progress_bars() as progress:
            ended = run_release(family, version, known, progress, lambda text: click.echo(text, err=True))
    except Refused as refusal:
        if not stops:
            raise
        click.echo(f"refused before it was scored (R2):\n{refusal}")
        return
    click.echo(ended.text)
    if stops != (ended.exit_status != 0):
        raise Refused(
            f"the release of {version} did not end as it must",
            where=family,
            got=ended.message,
            expected="stopped at the gate" if stops else "promoted",
            next_step="read the release report above",
        )


@contextmanager
def _company(family: str, visitors: int) -> Iterator[None]:
    """Traffic while a canary is routed, and with APPROVE=auto a signature when evidence waits."""
    over = threading.Event()
    helpers = [threading.Thread(target=_play_traffic, args=(family, visitors, over), daemon=True)]
    if os.environ.get("APPROVE") == "auto":
        helpers.append(threading.Thread(target=_sign, args=(family, over), daemon=True))
    for helper in helpers:
        helper.start()
    try:
        yield
    finally:
        over.set()
        for helper in helpers:
            helper.join()


def _play_traffic(family: str, visitors: int, over: threading.Event) -> None:
    from operations import pointer

    context, seed = open_context(), 0
    while not over.wait(LOOK_S):
        table = pointer.current(context, family).table
        if table is None or table.canary is None:
            continue
        seed += 1
        words = [sys.executable, "-m", "flows.cli", "traffic", family, "--seconds", "20", "--seed", str(seed)]
        subprocess.run([*words, "--concurrency", str(visitors), "--cadence", "4"], check=False, capture_output=True)


def _sign(family: str, over: threading.Event) -> None:
    from operations.approve import waiting_evidence

    context = open_context()
    while not over.wait(LOOK_S):
        evidence = waiting_evidence(context, family)
        if evidence:
            words = ("--key", KEY, "--evidence", evidence, "--decision", "promote", "--note", "make release")
            _soundcheck("approve", family, *words)


def _back_and_forth(context: Context, family: str, story: Story) -> None:
    """Roll back to the first bundle, prove it, and go forward to the better one by name: once."""
    _headline(f"{family}: back to {story.first}, and forward to {story.better} by name")
    versions = [move.version for move in context.ledger(family).state().history]
    rehearsed = versions[-4:] == [story.first, story.better] * 2
    if versions[-2:] == [story.first, story.better] and not rehearsed:
        _soundcheck("rollback", family, "--key", KEY, "--reason", "rehearsal of the rollback")
        versions.append(story.first)
    if versions[-3:] == [story.first, story.better, story.first]:
        _soundcheck("rollback", family, "--key", KEY, "--to", story.better, "--reason", "the rehearsal is over")
    state = context.ledger(family).state()
    click.echo("history: " + ", ".join(f"{move.version} {short(move.bundle)}" for move in state.history))


if __name__ == "__main__":
    run(main)
