"""Evidence for tests of metrics, from a few words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from evalpacks.metrics import Evidence
from evalpacks.metrics.words import WordEdits, edit_counts
from evalpacks.normalize import normalize_all

Row = tuple[float, str]
"""Seconds of audio heard, hypothesis."""


def make_evidence(
    pairs: Sequence[tuple[str, str]],
    *,
    entities: Sequence[Sequence[tuple[str, str]]] | None = None,
    ends_s: Sequence[float] | None = None,
    confidence: Sequence[float] | None = None,
    streams: Mapping[str, Sequence[Row]] | None = None,
    intents: Mapping[str, str] | None = None,
    normalizer: str = "none",
) -> Evidence:
    """One utterance (u0, u1, ...) a pair of reference and hypothesis; the last row of a stream is its final."""
    table = pd.DataFrame({"utterance_id": [f"u{n}" for n in range(len(pairs))], "text": [pair[0] for pair in pairs]})
    if entities is not None:
        table["entities"] = [json.dumps([{"type": a, "text": b} for a, b in listed]) for listed in entities]
    if ends_s is not None:
        table["speech_end_s"] = list(ends_s)
    references, hypotheses = (normalize_all([pair[side] for pair in pairs], normalizer) for side in (0, 1))
    return Evidence(
        utterances=table,
        normalizer=normalizer,
        references=references,
        hypotheses=hypotheses,
        words=edit_counts(references, hypotheses),
        confidence=np.full(len(pairs), np.nan) if confidence is None else np.array(confidence, np.float64),
        stream=None if streams is None else make_stream(streams),
        intents=intents or {},
    )


def make_stream(streams: Mapping[str, Sequence[Row]]) -> pd.DataFrame:
    """The table of Outputs.stream."""
    rows = [
        (utterance_id, heard_s, text, 0, number == len(shown) - 1)
        for utterance_id, shown in streams.items()
        for number, (heard_s, text) in enumerate(shown)
    ]
    return pd.DataFrame(rows, columns=["utterance_id", "heard_s", "text", "committed", "final"])


def take(evidence: Evidence, places: npt.NDArray[np.int64]) -> Evidence:
    """The evidence of some utterances, in the order of `places` (utterances,)."""
    table = evidence.utterances.iloc[places].reset_index(drop=True)
    stream = evidence.stream
    return replace(
        evidence,
        utterances=table,
        references=[evidence.references[place] for place in places],
        hypotheses=[evidence.hypotheses[place] for place in places],
        words=WordEdits(*(counts[places] for counts in evidence.words)),
        confidence=evidence.confidence[places],
        stream=None if stream is None else stream[stream["utterance_id"].isin(table["utterance_id"])],
        measured=None if evidence.measured is None else evidence.measured.iloc[places].reset_index(drop=True),
        beside=None if evidence.beside is None else evidence.beside.iloc[places].reset_index(drop=True),
    )


def counted(counts: Any) -> list[tuple[float, float]]:
    """(numerator, denominator) of each utterance."""
    return list(zip(counts.numerator.tolist(), counts.denominator.tolist(), strict=True))
