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

BOX = (96.0, 36.0)
"""Width and height of a document's box, in the graph's own unit."""
_STEP = (112.0, 50.0)
_TOP = 42.0
_LANE = 9.0


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
    curves, bottom = _curves(steps, boxes)
    width = max(filled, default=0) * _STEP[0] + BOX[0]
    return Graph(width, max(bottom, _TOP), heads, tuple(boxes.values()), curves)


def _curves(steps: Sequence[LedgerEvent], boxes: dict[Digest, Box]) -> tuple[tuple[str, ...], float]:
    """Path data of all edges and the lowest place they or the boxes reach.

    An edge to the next column is one curve; a longer one runs below the boxes it passes, and all long edges of one
    document share a lane, so that they can be followed.
    """
    floors: dict[float, float] = {}
    for box in boxes.values():
        floors[box.x] = max(floors.get(box.x, 0.0), box.y + BOX[1])
    pairs = dict.fromkeys(
        (source, made)
        for event in steps
        for source in event.inputs.values()
        for made in event.outputs.values()
        if boxes[source].x < boxes[made].x
    )
    reach: dict[Digest, float] = {}
    for source, made in pairs:
        reach[source] = max(reach.get(source, 0.0), boxes[made].x)
    lanes: dict[Digest, float] = {}
    for source in sorted(reach, key=lambda one: (reach[one] - boxes[one].x, boxes[one].y)):
        passed = [floor for x, floor in floors.items() if boxes[source].x < x < reach[source]]
        if not passed:
            continue
        lane = max(passed) + _LANE
        crossing = {lanes[one] for one in lanes if boxes[one].x < reach[source] and boxes[source].x < reach[one]}
        while any(abs(lane - taken) < _LANE for taken in crossing):
            lane += _LANE
        lanes[source] = lane
    drawn = tuple(_curve(boxes[source], boxes[made], lanes.get(source)) for source, made in pairs)
    return drawn, max([*floors.values(), *(lane + 2 for lane in lanes.values())], default=0.0)


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


def _curve(source: Box, made: Box, lane: float | None) -> str:
    start, end = source.x + BOX[0], made.x
    first, last = source.y + BOX[1] / 2, made.y + BOX[1] / 2
    gap = _STEP[0] - BOX[0]
    if lane is None or end - start <= gap:
        middle = (start + end) / 2
        return f"M{start:g} {first:g}C{middle:g} {first:g} {middle:g} {last:g} {end:g} {last:g}"
    down, up = start + gap, end - gap
    return (
        f"M{start:g} {first:g}C{down:g} {first:g} {start:g} {lane:g} {down:g} {lane:g}"
        f"H{up:g}C{end:g} {lane:g} {up:g} {last:g} {end:g} {last:g}"
    )
