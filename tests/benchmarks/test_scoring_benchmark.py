"""The scoring benchmark on little data, and the transcripts it is made of."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from benchmarks import scoring
from benchmarks.transcripts import SLICE_COLUMNS, SPEAKERS, make_pairs, make_transcripts
from evalpacks.metrics.words import edit_counts
from evalpacks.slices import slice_names


def test_transcripts_are_what_the_settings_say() -> None:
    references, hypotheses = make_pairs(20_000)
    edits = edit_counts(references, hypotheses)
    words = int(edits.reference_words.sum())
    assert words / len(references) == pytest.approx(12.5, abs=0.1)
    assert int(edits.errors.sum()) / words == pytest.approx(0.1, abs=0.005)
    assert int(edits.substitutions.sum()) > int(edits.deletions.sum()) > int(edits.insertions.sum()) > 0


def test_the_same_seed_gives_the_same_transcripts_also_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.transcripts._PART", 50)
    assert make_pairs(120, seed=4) == make_pairs(120, seed=4)
    assert make_pairs(120, seed=4) != make_pairs(120, seed=5)
    assert [len(texts) for texts in make_pairs(120)] == [120, 120]


def test_labels_make_twenty_slices() -> None:
    labels = make_transcripts(1_000).labels
    assert len(slice_names(labels, SLICE_COLUMNS)) == 20
    assert labels["speaker"].nunique() == SPEAKERS


def test_every_figure_of_the_design_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "PAIRS", 300)
    monkeypatch.setattr(scoring, "SIZES", (200, 400, 800))
    monkeypatch.setattr(scoring, "ProcessPoolExecutor", lambda workers, **_: ThreadPoolExecutor(workers))
    monkeypatch.setattr(scoring, "REPLICATES", 40)
    monkeypatch.setattr("gc.collect", lambda: 0)  # the heap of a test run is large, and nothing here is judged by time
    said: list[str] = []
    figures = scoring.measure(said.append).figures
    asked = {name: (figure.better, figure.must) for name, figure in figures.items() if figure.must is not None}
    assert asked == {
        "speedup_over_jiwer": ("higher", 20),
        "bounds_over_scoring_time": ("lower", 2),
        "growth_exponent": ("lower", 1.05),
        "growth_exponent_compiled": ("lower", 1.05),
        "peak_bytes_per_utterance": ("lower", 1500),
    }
    assert all(figure.value > 0 for name, figure in figures.items() if not name.startswith(("growth_exp", "peak")))
    assert len(figures["speedup_over_jiwer"].runs) == 5
    assert said


def test_memory_counts_the_strings_and_what_is_beside_them() -> None:
    with ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn")
    ) as child:  # nothing else was freed there
        strings, beside = child.submit(scoring.peak_bytes, 20_000).result()
    assert strings > beside > 0


def test_no_figure_where_the_peer_counts_otherwise() -> None:
    import jiwer

    with pytest.raises(AssertionError, match="3 errors, jiwer finds 1"):
        scoring._refuse_other_counts([1, 1, 1, 9], jiwer.process_words(["a b"], ["a c"]))
