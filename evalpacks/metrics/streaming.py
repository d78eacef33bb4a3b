"""Streaming quality: words that were shown and taken back, and speakers that were cut off.

Boundary: pure; judges `Outputs.stream`, what a model showed while it heard a sample of the pack chunk by chunk.
Invariants: time is audio time, so that the counts do not depend on the machine; the stream of an utterance ends with
its final, or it is refused; utterances that were not streamed have the denominator 0.
Source: the unstable partial word ratio of Shangguan et al. 2020, "Analyzing the Quality and Stability of a Streaming
End-to-End On-Device Speech Recognizer", over the words shown and not the final's, as serving counts it: it stays
in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from contracts.endpoint import endpoint_s
from contracts.errors import Refused
from evalpacks.metrics.metric import Counts, Evidence, Floats, Metric

if TYPE_CHECKING:
    import pandas as pd


class Shown(NamedTuple):
    """One row of a stream: the hypothesis after `heard_s` seconds of audio."""

    heard_s: float
    text: str


def word_churn(hypotheses: Sequence[Sequence[str]]) -> tuple[int, int]:
    """(words taken back, words newly shown) of the partials of one utterance and its final, which is the last.

    A word stays while everything from the first word up to it is the same in the next hypothesis.

    >>> word_churn([["a"], ["a", "b"], ["a", "c", "d"], ["a", "c"]])
    (2, 4)
    """
    unstable = shown = only_final = 0
    for before, now in pairwise([[], *hypotheses]):
        kept = 0
        while kept < min(len(before), len(now)) and before[kept] == now[kept]:
            kept += 1
        unstable += len(before) - kept
        shown += len(now) - kept
        only_final = len(now) - kept
    return unstable, shown - only_final


def histories(stream: pd.DataFrame, utterance_ids: Sequence[str]) -> dict[int, list[Shown]]:
    """The stream of each utterance by its position in `utterance_ids`, in order of time.

    Raises Refused where the stream is of another pack or does not end with its one final.
    """
    positions = {utterance_id: position for position, utterance_id in enumerate(utterance_ids)}
    found: dict[int, list[Shown]] = {}
    ended: set[int] = set()
    ordered = stream.sort_values(["heard_s", "final"], kind="stable")
    rows = zip(ordered["utterance_id"], ordered["heard_s"], ordered["text"], ordered["final"], strict=True)
    for utterance_id, heard_s, text, final in rows:
        position = positions.get(utterance_id)
        if position is None:
            raise _refused("is not in the pack", utterance_id)
        if position in ended:
            raise _refused("goes on after its final", utterance_id)
        found.setdefault(position, []).append(Shown(float(heard_s), text))
        if final:
            ended.add(position)
    for position in sorted(found.keys() - ended):
        raise _refused("has no final", utterance_ids[position])
    return found


def _refused(what: str, utterance_id: str) -> Refused:
    return Refused(
        f"a streamed utterance {what}",
        where="stream of a pack",
        got=str(utterance_id),
        expected="rows of utterances of the pack, the last one of each final",
        next_step="run the score step again",
    )


def endpoint_delays_s(evidence: Evidence) -> Floats | None:
    """Seconds from the end of the last word to the endpoint, NaN without either, shape (utterances,).

    None where the pack was not streamed or does not say when its words end.
    """
    if evidence.stream is None or "speech_end_s" not in evidence.utterances.columns:
        return None
    fired_s = np.full(len(evidence.references), np.nan)
    for position, history in histories(evidence.stream, evidence.utterances["utterance_id"].tolist()).items():
        moment = endpoint_s(history)
        fired_s[position] = np.nan if moment is None else moment
    ends_s: Floats = evidence.utterances["speech_end_s"].to_numpy(np.float64)
    return fired_s - ends_s


def _measure_churn(evidence: Evidence) -> Counts | None:
    if evidence.stream is None:
        return None
    counts = Counts(np.zeros(len(evidence.references)), np.zeros(len(evidence.references)))
    for position, history in histories(evidence.stream, evidence.utterances["utterance_id"].tolist()).items():
        unstable, shown = word_churn([row.text.split() for row in history])
        counts.numerator[position], counts.denominator[position] = unstable, shown
    return counts


def _measure_endpoints(evidence: Evidence) -> Counts | None:
    delays_s = endpoint_delays_s(evidence)
    if delays_s is None:
        return None
    return Counts((delays_s < 0).astype(np.float64), (~np.isnan(delays_s)).astype(np.float64))


CHURN = Metric("churn", "churn", "lower", _measure_churn, 100.0, "%", " points", "words shown in partials", True)

EARLY_ENDPOINTS = Metric(
    "early_endpoint_rate",
    "early endpoints",
    "lower",
    _measure_endpoints,
    100.0,
    "%",
    " points",
    "utterances with an endpoint",
    True,
)
