"""What commands share: opening the installation, printing JSON, a progress bar on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from operations.context import Context, Progress


def say(value: dict[str, Any] | list[Any]) -> None:
    """JSON to stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def light_context() -> Context:
    """The installation without its mirror: for commands that must answer at once."""
    from flows.wiring import open_context

    context = open_context()
    context.mirror = None
    return context


def import_signatures() -> None:
    """Import the library of signatures, without its AWS signer: that would bring boto3, which takes a third of the time
    that a rollback has. A store on S3 imports boto3 for itself.
    """
    absent = "boto3" not in sys.modules
    if absent:
        sys.modules["boto3"] = None  # type: ignore[assignment]  # an import of it fails, as where it is not installed
    try:
        import securesystemslib.signer  # noqa: F401
    finally:
        if absent:
            del sys.modules["boto3"]


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """One bar for each thing that takes long, on stderr; plain lines where stderr is not a terminal.

    What stands after a colon in a label may change while the bar stays.
    """
    if not sys.stderr.isatty():
        seen: set[str] = set()

        def line(label: str, done: int, total: int) -> None:
            if total and done >= total and label not in seen:
                seen.add(label)
                click.echo(f"  {label}: {done} of {total}", err=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("  {task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        rows: dict[str, Any] = {}

        def bar(label: str, done: int, total: int) -> None:
            name = label.partition(":")[0]
            if name not in rows:
                rows[name] = bars.add_task(label, total=total)
            bars.update(rows[name], description=label, completed=done, total=total)

        yield bar
