"""Golden fixtures: what a restored bundle must say to the audio it carries (R6.1, B5).

Boundary: reads a restored bundle's folder; hears nothing itself.
Invariants: a fixture that differs by more word edits than declared is named; one that was erased is passed over and
counted, and without any there is no proof (S5).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from contracts.bundle import Golden
from contracts.errors import Refused
from registry.tombstones import noted


class Proof(NamedTuple):
    """Fixtures that are equal within the tolerance, of those there are; names of the others; how many were erased."""

    equal: int
    expected: int
    different: tuple[str, ...]
    erased: int = 0


def read_golden(folder: Path) -> Golden:
    """A restored bundle's golden fixtures, without those whose audio was erased; Refused where none is left."""
    golden = Golden.parse((folder / "golden" / "golden.json").read_bytes(), where="golden/golden.json")
    absent = noted(folder)
    left = tuple(fixture for fixture in golden.fixtures if f"golden/{fixture.audio}" not in absent)
    if not left:
        raise Refused(
            "no golden fixture is left to prove the bundle with",
            where=folder.name,
            got=f"{len(golden.fixtures)} fixtures, {len(absent)} erased",
            expected="one fixture or more",
            next_step="serve another bundle, or release the candidate again with fixtures that may be kept",
        )
    return golden.model_copy(update={"fixtures": left})


def compare(golden: Golden, heard: Sequence[str]) -> Proof:
    """Count the fixtures whose text differs by no more word edits than the tolerance allows."""
    from evalpacks.metrics.words import word_edits

    different = tuple(
        fixture.fixture_id
        for fixture, text in zip(golden.fixtures, heard, strict=True)
        if word_edits(fixture.text, text) > golden.max_word_edits
    )
    return Proof(len(golden.fixtures) - len(different), len(golden.fixtures), different)
