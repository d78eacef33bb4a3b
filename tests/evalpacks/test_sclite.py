"""S, D and I against NIST sclite: equal on recogniser noise, and where they differ it is known why."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.transcripts import make_pairs
from tests.evalpacks.sclite_oracle import find_sclite, oracle_counts, product_counts, sclite_counts


def unrelated(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Pairs that have nothing to do with each other, of few words, so that ties abound."""
    generator = np.random.default_rng(seed)

    def texts() -> list[str]:
        sizes = generator.integers(1, 16, size=count)
        return [" ".join(generator.choice(list("abcdefgh"), size=size)) for size in sizes]

    return texts(), texts()


def test_equals_the_oracle_on_recogniser_noise() -> None:
    references, hypotheses = make_pairs(20_000, seed=3, noise=0.1)
    found = product_counts(references, hypotheses)
    assert sum(map(sum, found)) > 20_000
    assert found == oracle_counts(references, hypotheses)


def test_on_unrelated_text_a_few_per_cent_differ_and_ours_have_fewer_edits_or_substitutions() -> None:
    pairs = unrelated(2_000, seed=3)
    compared = list(zip(product_counts(*pairs), oracle_counts(*pairs), strict=True))
    differing = [(ours, theirs) for ours, theirs in compared if ours != theirs]
    assert 0.005 < len(differing) / len(compared) < 0.05
    assert all(sum(ours) < sum(theirs) or ours[0] < theirs[0] for ours, theirs in differing)


def test_five_substitutions_are_fewer_edits_than_six_gaps_but_weigh_more() -> None:
    reference, hypothesis = "a b c d e x x x", "x x x f g h i j"
    assert product_counts([reference], [hypothesis]) == [(8, 0, 0)]
    assert oracle_counts([reference], [hypothesis]) == [(0, 5, 5)]


@pytest.mark.parametrize("noise", ["recogniser", "unrelated"])
def test_the_oracle_is_sclite(noise: str) -> None:
    program = find_sclite()
    if program is None:
        pytest.skip("sclite is not installed (Debian: apt-get install sctk; or SCLITE=PATH)")
    pairs = make_pairs(3_000, seed=4) if noise == "recogniser" else unrelated(3_000, seed=4)
    assert oracle_counts(*pairs) == sclite_counts(*pairs, program)
