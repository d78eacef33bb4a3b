"""Scores, lengths, silence and clipping of a voice: counts per utterance of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.policy import MetricName
from evalpacks.metrics import METRICS, Evidence
from tests.evalpacks.metrics.evidence_samples import counted, make_evidence, take

SCORES: tuple[MetricName, ...] = ("mos", "noise_mos", "speaker_similarity")
SHARES: dict[MetricName, tuple[str, str]] = {
    "duration_error": ("length_error_s", "reference_s"),
    "silence_share": ("silent_s", "audio_s"),
    "clipping": ("clipped_s", "audio_s"),
}
NAMES = (*SCORES, *SHARES)
COLUMNS = (*SCORES, "length_error_s", "reference_s", "silent_s", "audio_s", "clipped_s")
Rows = st.lists(
    st.fixed_dictionaries({name: st.floats(0, 5) | st.just(np.nan) for name in SCORES})
    .flatmap(
        lambda scores: st.floats(0.1, 9).map(lambda audio_s: {**scores, "audio_s": audio_s, "reference_s": audio_s})
    )
    .flatmap(
        lambda row: st.floats(0, 1).map(
            lambda share: {
                **row,
                **dict.fromkeys(("silent_s", "clipped_s", "length_error_s"), share * row["audio_s"]),
            }
        )
    ),
    min_size=1,
    max_size=8,
)


def spoken(rows: Sequence[Mapping[str, float]]) -> Evidence:
    """Utterances with measured columns."""
    evidence = make_evidence([("yes", "yes")] * len(rows))
    measured = evidence.utterances[["utterance_id"]].copy()
    for name in COLUMNS:
        measured[name] = [row.get(name, np.nan) for row in rows]
    return replace(evidence, measured=measured)


def part(evidence: Evidence, places: Sequence[int]) -> Evidence:
    chosen = np.array(places, np.int64)
    assert evidence.measured is not None
    return replace(take(evidence, chosen), measured=evidence.measured.iloc[chosen].reset_index(drop=True))


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_its_mean_over_the_utterances_that_have_one(name: MetricName) -> None:
    counts = METRICS[name].measure(spoken([{name: 3.0}, {name: np.nan}, {name: 4.0}]))
    assert counted(counts) == [(3.0, 1.0), (0.0, 0.0), (4.0, 1.0)]


@pytest.mark.parametrize(("name", "columns"), SHARES.items())
def test_a_share_is_seconds_over_seconds(name: MetricName, columns: tuple[str, str]) -> None:
    counts = METRICS[name].measure(spoken([{columns[0]: 0.5, columns[1]: 2.0}, {columns[0]: 0.0, columns[1]: 8.0}]))
    assert counted(counts) == [(0.5, 2.0), (0.0, 8.0)]


@pytest.mark.parametrize("name", NAMES)
def test_a_voice_that_was_not_measured_has_no_counts(name: MetricName) -> None:
    bare = make_evidence([("yes", "yes")])
    assert METRICS[name].measure(replace(bare, measured=bare.utterances)) is None


@pytest.mark.parametrize("name", NAMES)
@given(rows=Rows, randoms=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=15)
def test_permuting_utterances_permutes_counts(name: MetricName, rows: list[dict[str, float]], randoms: object) -> None:
    places = list(range(len(rows)))
    getattr(randoms, "shuffle")(places)  # noqa: B009
    whole = counted(METRICS[name].measure(spoken(rows)))
    assert counted(METRICS[name].measure(part(spoken(rows), places))) == [whole[place] for place in places]


@pytest.mark.parametrize("name", NAMES)
@given(rows=Rows)
@settings(deadline=None, max_examples=15)
def test_counts_are_never_negative_and_say_nothing_without_a_denominator(
    name: MetricName, rows: list[dict[str, float]]
) -> None:
    counts = METRICS[name].measure(spoken(rows))
    assert counts is not None
    assert (counts.numerator >= 0).all()
    assert (counts.denominator >= 0).all()
    assert not counts.numerator[counts.denominator == 0].any()


@pytest.mark.parametrize(
    ("name", "better"), [(name, "higher") for name in SCORES] + [(name, "lower") for name in SHARES]
)
def test_directions(name: MetricName, better: str) -> None:
    assert METRICS[name].better == better
