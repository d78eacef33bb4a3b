"""Speed and memory of scoring: strings in, S, D and I of overall and 20 slices out.

Boundary: what is timed is the product's own path (`edit_counts`, slices, sums), the one of `soundcheck score` and of a
release's score report; the peer is `jiwer.process_words` on the same lists, which gives overall only.
Invariants: both find the same number of errors, or there is no figure. Making the data, the compiler (on first use a
few seconds, then read from its cache) and warm-up runs are outside the clock.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from benchmarks import frame
from benchmarks.transcripts import SLICE_COLUMNS, SPEAKERS, Transcripts, make_pairs, make_transcripts
from evalpacks.matching import speaker_codes
from evalpacks.metrics.words import edit_counts
from evalpacks.slices import OVERALL, slice_masks, slice_names, slice_sums
from evalpacks.statistics import Integers, Paired, compare
from evalpacks.transcript_scores import score_transcripts

PAIRS = 100_000
SIZES = (10_000, 50_000, 200_000, 1_000_000, 2_000_000)
REPLICATES = 1000

SETTINGS = {
    "pairs": PAIRS,
    "words_a_reference": "1 to 24, 12.5 on average; 20,000 words by Zipf's law",
    "noise": "10% of the words: 60% replaced, 25% dropped, 15% followed by a word nobody said",
    "slices": "overall and 20: 4 columns of 5 values",
    "speakers": SPEAKERS,
    "peer": "jiwer.process_words on lists of strings, overall only; ours has the slices, too",
    "threads": f"ours: one a core ({os.cpu_count()}); jiwer: one",
    "garbage_collector": "on, as Python sets it, for both; off for speedup_over_jiwer_without_gc; run between the runs",
    "outside_the_clock": "data, tables of labels, import and compilation, one warm-up run of each",
    "bounds": f"{REPLICATES} replicates, 20 slices x 3 metrics (WER, substitutions, deletions), over scoring one arm",
    "growth": f"log-log slope of time over {', '.join(f'{size:,}' for size in SIZES)} utterances, median of the turns; "
    f"{SIZES[0]:,} are not compiled, so growth_exponent_compiled is without them",
    "memory": f"{SIZES[-1]:,} utterances in a process of its own: resident peak over what it was before there were "
    "any strings, so both lists of strings are counted; beside_inputs is over what it was when they were there",
}


def measure(progress: frame.Progress) -> frame.Result:
    """The figures of benchmarks.md, and some beside them."""
    figures = {**_speed(progress), **_bounds(progress), **_growth(progress), **_memory(progress)}
    return frame.Result(SETTINGS, figures)


def score(transcripts: Transcripts) -> dict[str, list[int]]:
    """S, D, I and reference words of overall and every slice."""
    masks = slice_masks(transcripts.labels, [OVERALL, *slice_names(transcripts.labels, SLICE_COLUMNS)])
    return slice_sums(masks, edit_counts(transcripts.references, transcripts.hypotheses))


def _speed(progress: frame.Progress) -> dict[str, frame.Figure]:
    import jiwer

    data = make_transcripts(PAIRS)
    references = data.labels.assign(text=data.references).astype(object)
    hypotheses = data.labels[["utterance_id"]].assign(text=data.hypotheses).astype(object)

    def peer() -> jiwer.WordOutput:
        return jiwer.process_words(data.references, data.hypotheses)

    _refuse_other_counts(score(data)[OVERALL], peer())
    seconds = frame.interleaved(
        {
            "ours": lambda: score(data),
            "tables": lambda: score_transcripts(references, hypotheses, slices=SLICE_COLUMNS),
            "jiwer": peer,
            "jiwer_without_gc": lambda: _without_collector(peer),
        },
        progress=progress,
    )
    return {
        "speedup_over_jiwer": frame.ratio(seconds["jiwer"], seconds["ours"], better="higher", must=20),
        "speedup_over_jiwer_without_gc": frame.ratio(seconds["jiwer_without_gc"], seconds["ours"], better="higher"),
        "speedup_of_tables_over_jiwer": frame.ratio(seconds["jiwer"], seconds["tables"], better="higher"),
        "utterances_per_s": frame.median_of((PAIRS / taken for taken in seconds["ours"]), "1/s", "higher"),
        "jiwer_utterances_per_s": frame.median_of((PAIRS / taken for taken in seconds["jiwer"]), "1/s", "higher"),
    }


def _refuse_other_counts(ours: list[int], peer: object) -> None:
    theirs = sum(getattr(peer, kind) for kind in ("substitutions", "deletions", "insertions"))
    if sum(ours[:3]) != theirs:
        raise AssertionError(f"{sum(ours[:3])} errors, jiwer finds {theirs}")


def _without_collector(action: Callable[[], object]) -> object:
    gc.disable()
    try:
        return action()
    finally:
        gc.enable()


def _bounds(progress: frame.Progress) -> dict[str, frame.Figure]:
    data = make_transcripts(PAIRS)
    _, other = make_pairs(PAIRS, noise=0.11)
    stable = Transcripts(data.references, other, data.labels)
    speakers = speaker_codes(data.labels["speaker"].tolist())
    by_speaker, by_utterance = _pairs(data, stable, speakers), _pairs(data, stable, None)
    seconds = frame.interleaved(
        {
            "scoring": lambda: score(data),
            "bounds": lambda: compare(by_speaker, alpha=0.05, replicates=REPLICATES, seed=1),
            "bounds_by_utterance": lambda: compare(by_utterance, alpha=0.05, replicates=REPLICATES, seed=1),
        },
        progress=progress,
    )
    scoring = seconds["scoring"]
    return {
        "bounds_over_scoring_time": frame.ratio(seconds["bounds"], scoring, better="lower", must=2),
        "bounds_by_utterance_over_scoring_time": frame.ratio(seconds["bounds_by_utterance"], scoring, better="lower"),
        "bounds_s": frame.median_of(seconds["bounds"], "s", "lower"),
    }


def _pairs(candidate: Transcripts, stable: Transcripts, speakers: Integers | None) -> list[Paired]:
    """20 slices x WER, substitutions and deletions."""
    masks = slice_masks(candidate.labels, slice_names(candidate.labels, SLICE_COLUMNS))
    ours, theirs = (edit_counts(arm.references, arm.hypotheses) for arm in (candidate, stable))
    numerators = [
        (ours.errors, theirs.errors),
        (ours.substitutions, theirs.substitutions),
        (ours.deletions, theirs.deletions),
    ]
    return [
        Paired(
            population="transcripts",
            candidate=numerator,
            stable=baseline,
            denominator=ours.reference_words,
            mask=mask,
            speakers=speakers,
        )
        for mask in masks.values()
        for numerator, baseline in numerators
    ]


def _growth(progress: frame.Progress) -> dict[str, frame.Figure]:
    data = {f"{size:,}": make_transcripts(size) for size in SIZES}
    seconds = frame.interleaved({name: partial(score, held) for name, held in data.items()}, progress=progress)
    turns = list(zip(*seconds.values(), strict=True))
    return {
        "growth_exponent": _exponent(SIZES, turns),
        "growth_exponent_compiled": _exponent(SIZES[1:], [turn[1:] for turn in turns]),
        "largest_s": frame.median_of((turn[-1] for turn in turns), "s", "lower"),
    }


def _exponent(sizes: Sequence[int], turns: Sequence[Sequence[float]]) -> frame.Figure:
    """The median over turns of the slope of log time by log size."""
    slopes = [float(np.polyfit(np.log(sizes), np.log(turn), 1)[0]) for turn in turns]
    return frame.median_of(slopes, "exponent", "lower", must=1.05)


def _memory(progress: frame.Progress) -> dict[str, frame.Figure]:
    progress(f"memory at {SIZES[-1]:,} utterances")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as child:
        total, beside = child.submit(peak_bytes, SIZES[-1]).result()
    return {
        "peak_bytes_per_utterance": frame.Figure(total / SIZES[-1], "B", "lower", must=1500),
        "peak_bytes_per_utterance_beside_inputs": frame.Figure(beside / SIZES[-1], "B", "lower"),
    }


def peak_bytes(size: int) -> tuple[int, int]:
    """How far scoring takes this process's resident memory over what it was before, and after, there were strings."""
    score(make_transcripts(10_000))
    before = _resident_bytes()
    data = make_transcripts(size)
    inputs = _resident_bytes()
    score(data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return peak - before, peak - inputs


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as fields:
        return int(fields.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    frame.main(measure)
