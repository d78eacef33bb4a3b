"""Golden fixtures: what a restored bundle must answer to what it carries (R6.1, B5).

Boundary: reads a restored bundle's folder; asks nothing itself.
Invariants: a fixture that differs by more than declared is named; one that was erased is passed over and
counted, and without any there is no proof (S5).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from contracts.bundle import Golden, GoldenAnswer, GoldenFixture
from contracts.errors import Refused
from registry.tombstones import noted
from speech.kinds import Prompt


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


def prompts(golden: Golden, folder: Path) -> list[Prompt]:
    """What a restored bundle is asked, fixture by fixture."""
    return [
        Prompt(
            path=folder / "golden" / fixture.audio if fixture.audio else None,
            text=fixture.prompt,
            tenant=fixture.slices.get("tenant", ""),
        )
        for fixture in golden.fixtures
    ]


def compare(golden: Golden, answers: Sequence[GoldenAnswer]) -> Proof:
    """Count the fixtures that are answered as declared, within the tolerances (contracts.bundle.Golden)."""
    different = tuple(
        fixture.fixture_id
        for fixture, answer in zip(golden.fixtures, answers, strict=True)
        if not _equal(fixture, answer, golden)
    )
    return Proof(len(golden.fixtures) - len(different), len(golden.fixtures), different)


def _equal(fixture: GoldenFixture, answer: GoldenAnswer, golden: Golden) -> bool:
    from evalpacks.metrics.words import word_edits

    if fixture.label != answer.label or len(fixture.vector) != len(answer.vector):
        return False
    pairs = zip(fixture.vector, answer.vector, strict=True)
    near = all(abs(said - given) <= golden.max_distance for said, given in pairs)
    return near and word_edits(fixture.text, answer.text) <= golden.max_word_edits
