"""The ledger's documents as a left-to-right graph: where each box stands and how the curves between them run.

Boundary: no I/O, no markup. Source: pages.md (lineage); release-algorithm R9.1.
Invariants: a document stands right of everything it was made from; a document that this release did not write stands
just left of the first step that read it, and is marked as given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from contracts.digest import Digest, short
from contracts.ledger_event import LedgerEvent
from pages.figures import clock, plain

BOX = (98.0, 36.0)
"""Width and height of a document's box, in the graph's own unit."""
_STEP = (116.0, 50.0)
_TOP = 42.0


class Box(NamedTuple):
    """A document: its role, its digest, its left upper corner."""

    role: str
    digest: Digest
    hint: str
    x: float
    y: float
    given: bool


class Column(NamedTuple):
    """A step above its documents: name and time."""

    name: str
    at: str
    x: float


class Graph(NamedTuple):
    """The graph: its size, its columns, its boxes, its curves (SVG path data)."""

    width: float
    height: float
    columns: tuple[Column, ...]
    boxes: tuple[Box, ...]
    curves: tuple[str, ...]


def graph(events: Sequence[LedgerEvent]) -> Graph:
    """Lay out the documents of some events; an intention (`start`) writes none and is left out."""
    steps = [event for event in events if event.outcome != "start" and event.outputs]
    column, roles, given = _columns(steps)
    shift = 1 - min(column.values(), default=1)
    filled: dict[int, int] = {}
    boxes: dict[Digest, Box] = {}
    for digest in sorted(column, key=lambda one: (column[one], one in given)):
        place = column[digest] + shift - 1
        row = filled.get(place, 0)
        filled[place] = row + 1
        x, y = place * _STEP[0], _TOP + row * _STEP[1]
        boxes[digest] = Box(roles[digest].replace("_", " "), digest, short(digest), x, y, digest in given)
    heads = tuple(
        Column(_name(event), clock(event.at).removesuffix(" UTC"), (number + shift - 1) * _STEP[0])
        for number, event in enumerate(steps)
    )
    curves = dict.fromkeys(
        _curve(boxes[source], boxes[made])
        for event in steps
        for source in event.inputs.values()
        for made in event.outputs.values()
        if boxes[source].x < boxes[made].x
    )
    width = (max(filled, default=0)) * _STEP[0] + BOX[0]
    height = _TOP + max(filled.values(), default=0) * _STEP[1] - (_STEP[1] - BOX[1])
    return Graph(width, max(height, _TOP), heads, tuple(boxes.values()), tuple(curves))


def _name(event: LedgerEvent) -> str:
    return plain(event.step).replace("_", " ") + (" failed" if event.outcome == "fail" else "")


def _columns(steps: Sequence[LedgerEvent]) -> tuple[dict[Digest, int], dict[Digest, str], set[Digest]]:
    """Column of each document, its role, and which are given: a written one stands under its step."""
    column: dict[Digest, int] = {}
    roles: dict[Digest, str] = {}
    for number, event in enumerate(steps):
        for role, digest in event.outputs.items():
            column.setdefault(digest, number)
            roles.setdefault(digest, plain(role))
    written = set(column)
    for number, event in enumerate(steps):
        for role, digest in event.inputs.items():
            column.setdefault(digest, number - 1)
            roles.setdefault(digest, plain(role))
    return column, roles, set(column) - written


def _curve(source: Box, made: Box) -> str:
    start, end = source.x + BOX[0], made.x
    first, last = source.y + BOX[1] / 2, made.y + BOX[1] / 2
    bend = max((end - start) / 2, 8.0)
    return f"M{start:g} {first:g}C{start + bend:g} {first:g} {end - bend:g} {last:g} {end:g} {last:g}"
