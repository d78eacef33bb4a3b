"""Garbage collection of an installation: what could be deleted, and its deletion.

Boundary: the store. registry/garbage.py finds and deletes.
Invariants: nothing is deleted unless it is asked for; ledgers of families that params.yaml no longer names count too.
"""

from __future__ import annotations

from operations.context import Context
from registry.garbage import Collection
from registry.garbage import collect as collect_garbage

DAY_S = 86_400.0


def collect(context: Context, *, delete: bool, grace_days: float, stopped_days: float) -> Collection:
    """Find garbage; with `delete`, delete it.

    Args:
        grace_days: what was put within so many days is left.
        stopped_days: after so many days without an event, a release that was never promoted loses its files.
    """
    return collect_garbage(
        context.store,
        context.settings.families,
        clock=context.now,
        grace_s=grace_days * DAY_S,
        stopped_s=stopped_days * DAY_S,
        delete=delete,
        on_progress=lambda done, total: context.progress("delete", done, total),
    )
