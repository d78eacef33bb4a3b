"""What a metric is: what it needs of a model's outputs on a pack, and how it reads.

Boundary: pure; tables in, counts per utterance out.
Invariants: a metric yields a numerator and a denominator per utterance, never a rate (R3.1), so that rates are ratios
of sums (U2) and every slice and every resampling is a sum; an utterance that says nothing of the metric has the
denominator 0; evidence that the metric needs and does not have is None, never a zero (R4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.policy import MetricName
from contracts.reports import Better
from evalpacks.metrics.words import WordEdits

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]


class Outputs(NamedTuple):
    """What one model gave for one pack.

    Attributes:
        texts: one row an utterance of the pack: utterance_id, text, and confidence in [0, 1] or NaN; with the columns
            that the model's task measures (speech/kinds says which).
        stream: what it showed when it heard a sample of the pack chunk by chunk, in order: utterance_id, heard_s (s of
            audio heard so far), text, committed (words that never change again), final (bool); None where the pack was
            not streamed.
    """

    texts: pd.DataFrame
    stream: pd.DataFrame | None = None


class Counts(NamedTuple):
    """Numerator and denominator per utterance, each of shape (utterances,)."""

    numerator: Floats
    denominator: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One model on one pack, as metrics see it; every sequence is in the order of `utterances`.

    Attributes:
        utterances: the pack's table, sorted by utterance_id.
        normalizer: name of the normaliser of `references` and `hypotheses`.
        references, hypotheses: normalised texts.
        words: their word edits.
        confidence: of each utterance, NaN where the engine has none, shape (utterances,).
        stream: the table of `Outputs.stream`, texts as the model gave them.
        intents: intent -> pattern, of the pack (PackMeta.intents).
        measured: the table of `Outputs.texts`, in the order of `utterances`.
        beside: the same of the stable model (of itself, for the stable one), for what two versions are to each other;
            None where there is none.
    """

    utterances: pd.DataFrame
    normalizer: str
    references: list[str]
    hypotheses: list[str]
    words: WordEdits
    confidence: Floats
    stream: pd.DataFrame | None = None
    intents: Mapping[str, str] = field(default_factory=dict)
    measured: pd.DataFrame | None = None
    beside: pd.DataFrame | None = None

    def column(self, name: str) -> Floats | None:
        """A measured column, shape (utterances,), NaN where the model gave nothing; None where there is no such one."""
        if self.measured is None or name not in self.measured.columns:
            return None
        return self.measured[name].to_numpy(dtype=np.float64)


class Metric(NamedTuple):
    """How a metric reads, and how it is measured.

    Attributes:
        name: key in policies and reports.
        label: name in sentences.
        better: whether lower or higher values are better.
        measure: counts of one model on one pack; None where the evidence cannot say (no stream, no entities, ...).
        scale: factor from the stored value to the shown one (100: a fraction shown in per cent).
        value_unit: written after a shown value.
        difference_unit: written after a shown difference.
        support: what the denominator counts.
        needs_stream: whether the pack must be heard chunk by chunk for it.
    """

    name: MetricName
    label: str
    better: Better
    measure: Callable[[Evidence], Counts | None]
    scale: float = 1.0
    value_unit: str = ""
    difference_unit: str = ""
    support: str = "units"
    needs_stream: bool = False
