"""Is a clip of its class: recall, and macro F1 as a ratio of sums.

Boundary: pure; the pack's slice column `label` and the measured column `predicted` in, counts per utterance out.
Invariants: on a whole pack `macro_f1` is exactly the mean over classes of 2 TP / (2 TP + FP + FN).

The denominator of a class c, 2 TP + FP + FN, is the number of clips that are c plus the number that are called c. So a
clip with label t, called p, has the weight 1/D_t + 1/D_p over the number of classes, and counts where t = p: both sums
run over clips, and their ratio is macro F1. Weights are made on the whole pack and stay as they are on a slice: there
the value is the share of its clips that are right, a clip of a rare class weighing more, and not the F1 that one would
count on the slice alone. A class that is neither there nor called has no F1 and is left out.

`class_recall` weighs all clips alike: on a slice of one label (`label=speech`) it is the recall of that class, on any
other slice the share of clips that are right.
Source: Opitz and Burst 2019, "Macro F1 and Macro F1" (the mean of F1 over classes).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evalpacks.metrics.metric import Counts, Evidence, Metric

LABEL, PREDICTED = "label", "predicted"


def labels_of(evidence: Evidence) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.object_]] | None:
    """What clips are and what they were called, each (utterances,); None where one of both is not known."""
    measured = evidence.measured
    if measured is None or PREDICTED not in measured.columns or LABEL not in evidence.utterances.columns:
        return None
    return evidence.utterances[LABEL].to_numpy(dtype=object), measured[PREDICTED].to_numpy(dtype=object)


def _recall(evidence: Evidence) -> Counts | None:
    found = labels_of(evidence)
    if found is None:
        return None
    label, predicted = found
    return Counts((label == predicted).astype(np.float64), np.ones(len(label)))


def _macro_f1(evidence: Evidence) -> Counts | None:
    found = labels_of(evidence)
    if found is None:
        return None
    label, predicted = found
    classes, codes = np.unique(np.concatenate([label, predicted]).astype(str), return_inverse=True)
    shares = 1.0 / np.bincount(codes)[codes]
    # Over the number of clips the weights would add up to 1; so they add up to the clips, which support is asked in.
    weight = (shares[: len(label)] + shares[len(label) :]) * (len(label) / len(classes))
    return Counts(np.where(label == predicted, weight, 0.0), weight)


CLASSIFICATION = (
    Metric("macro_f1", "macro F1", "higher", _macro_f1, 100.0, "%", " points", "clips"),
    Metric("class_recall", "recall", "higher", _recall, 100.0, "%", " points", "clips"),
)
