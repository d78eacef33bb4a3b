"""The golden proof: a restored bundle answers its own fixtures as it did when it was packaged (R6.1, B5).

Boundary: restores through the verified cache; runs the bundle's runtime in a process of its own.
Invariants: a fixture that differs by more word edits than declared refuses the bundle; nothing is proved from memory;
a fixture that was erased is passed over and counted, and without any there is no proof (S5).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from contracts.bundle import Golden
from contracts.digest import Digest, short
from contracts.errors import Refused
from operations import compute
from operations.context import Context, log
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


def compare(golden: Golden, heard: list[str]) -> Proof:
    """Count the fixtures whose text differs by no more word edits than the tolerance allows."""
    from evalpacks.metrics.words import word_edits

    different = tuple(
        fixture.fixture_id
        for fixture, text in zip(golden.fixtures, heard, strict=True)
        if word_edits(fixture.text, text) > golden.max_word_edits
    )
    return Proof(len(golden.fixtures) - len(different), len(golden.fixtures), different)


def prove(context: Context, bundle: Digest) -> Proof:
    """Restore the bundle, hear its fixtures, refuse it when they differ or its outputs are not finite."""
    import pandas as pd

    from registry.bundle import cached

    folder = cached(context.store, bundle, context.home / "cache")
    golden = read_golden(folder)
    rows = [
        {"utterance_id": fixture.fixture_id, "path": fixture.audio, "duration_s": 0.0} for fixture in golden.fixtures
    ]
    context.progress("golden outputs", 0, 1)
    with compute.naming(f"bundle {short(bundle)}"):
        table = compute.hypotheses(folder / "payload", pd.DataFrame(rows), folder / "golden")
    context.progress("golden outputs", 1, 1)
    proof = compare(golden, [str(text) for text in table["text"]])
    if noted(folder):
        log.warning("bundle %s: golden fixtures erased, which prove nothing: %d", short(bundle), len(noted(folder)))
    if proof.different:
        raise Refused(
            "the golden outputs differ",
            where=f"bundle {short(bundle)}",
            got=f"{len(proof.different)} of {proof.expected}: " + ", ".join(proof.different[:5]),
            expected=f"every fixture within {golden.max_word_edits} word edits",
            next_step="serve another bundle (soundcheck status shows them) and look at what changed in the runtime",
        )
    return proof._replace(erased=len(noted(folder)))
