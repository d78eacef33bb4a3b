"""What a release is around its steps: one at a time a family, done already or not, its report when it ends.

Boundary: a lock file in HOME/run; the report in HOME/reports and in the mirror.
Invariants: two releases of one family never run at once on one machine; the lock dies with its process; a payload that
was released under this policy is not released again (R5.5).
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.digest import Digest
from contracts.errors import Refused
from operations.context import Context
from operations.mirror import follow
from operations.store_check import check_store_daily
from operations.view import release_view
from pages.view import ReleaseView

STEPS = ("capture", "register", "score", "gate", "package", "stage", "canary", "approve", "promote")


@contextmanager
def exclusive(context: Context, family: str) -> Iterator[None]:
    """Hold the family's release lock; Refused when another release of it runs, or the bucket is not fit (fault 20)."""
    folder = context.home / "run"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"release-{family}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                "another release of this family is running",
                where=family,
                expected="one release a family at a time",
                next_step=f"wait for it, or stop its canary with `soundcheck abort {family}`",
            ) from None
        check_store_daily(context.store, context.home, context.now())
        yield


def already_released(context: Context, family: str, release: str) -> bool:
    """Whether this release was promoted before (it may have been rolled back since; name it to return to it)."""
    return any(move.release == release for move in context.ledger(family).state().history)


def finish(context: Context, family: str, release: str, links: dict[str, str]) -> ReleaseView:
    """Write the release report, let the mirror follow, and give the view to show."""
    from pages.release import render

    path = report_path(context.home, family, release)
    links = {"report": str(path), **links}
    view = release_view(context, family, release, links)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(view))
    follow(context, family)
    return view


def report_path(home: Path, family: str, release: Digest) -> Path:
    """Where a release's report lies."""
    return home / "reports" / f"{family}-{release[:12]}.html"
