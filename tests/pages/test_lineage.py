"""The layout of the lineage graph."""

from __future__ import annotations

import re

from contracts.ledger_event import GENESIS, LedgerEvent
from pages import lineage
from pages.view import ReleaseView
from tests.pages.release_documents import name_of


def test_lineage_runs_left_to_right(release: ReleaseView) -> None:
    graph = lineage.graph(release.events)
    places = {box.digest: box for box in graph.boxes}
    for event in release.events:
        for source in event.inputs.values():
            for made in event.outputs.values():
                assert places[source].x < places[made].x
    assert {box.role for box in graph.boxes if box.given} == {"params", "policy", "pack", "stable"}
    corners = [(box.x, box.y) for box in graph.boxes]
    assert len(corners) == len(set(corners))
    assert all(box.x + lineage.BOX[0] <= graph.width and box.y + lineage.BOX[1] <= graph.height for box in graph.boxes)
    numbers = [float(one) for curve in graph.curves for one in re.findall(r"-?\d+(?:\.\d+)?", curve)]
    assert min(numbers) >= 0
    assert max(numbers) <= graph.width


def test_lineage_of_nothing_and_of_an_output_written_twice() -> None:
    assert lineage.graph(()).boxes == ()
    same = name_of("same")
    first = LedgerEvent(
        family="f", sequence=0, previous=GENESIS, at="x", step="capture", outcome="complete", outputs={"a": same}
    )
    second = first.model_copy(update={"sequence": 1, "step": "gate", "outcome": "fail", "inputs": {"a": same}})
    graph = lineage.graph((first, second))
    assert [box.digest for box in graph.boxes] == [same]
    assert graph.curves == ()
    assert [column.name for column in graph.columns] == ["capture", "gate failed"]
