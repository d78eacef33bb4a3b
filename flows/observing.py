"""Who watches the flows that run in this process: a flow's parameters are its form, so a watcher is not one of them.

Boundary: holds two callables of the command line.
"""

from __future__ import annotations

from flows.wiring import open_context
from operations.context import Announce, Context, Progress

_watchers: list[tuple[Progress, Announce]] = []


def observe(progress: Progress, announce: Announce) -> None:
    """Where a flow in this process shows how far it is."""
    _watchers[:] = [(progress, announce)]


def observed_context() -> Context:
    """The installation, whose work is shown to who watches."""
    return open_context(*(_watchers[-1] if _watchers else ()))
