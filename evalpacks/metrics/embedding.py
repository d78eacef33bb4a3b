"""Speaker verification and identification: EER, minDCF, recall@k, and scores across two versions of a model.

Boundary: pure; vectors and who speaks in, counts per utterance out.
Invariants:
- a pack says in its column `role` which utterances enrol a speaker and which are probes; a speaker's voiceprint is the
  mean of the enrolment vectors, of length 1 again, and each probe is tried against every voiceprint (scalar product);
- a probe is the unit: its numerator is half its miss rate over its targets plus half its false-alarm rate over its
  non-targets, so that over the whole pack the ratio of sums is the EER, and in a slice the half total error at the
  threshold of the whole pack (a product has one threshold, not one a slice); enrolment utterances have the denominator
  0; the threshold is the arm's own and is not drawn again in the bootstrap;
- an utterance without a vector (nobody was heard to speak) is a failure to acquire: as a probe it misses its targets
  and raises no false alarm, as an enrolment it says nothing;
- vectors of two spaces are never compared: the metric across versions is None then.
Source: Martin et al. 1997, "The DET curve in assessment of detection task performance" (EER); NIST 2016 Speaker
Recognition Evaluation plan (normalised detection cost; P_target 0.05, both costs 1); ISO/IEC 19795-1 (failure to
acquire).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from evalpacks.metrics.metric import Counts, Evidence, Floats, Metric

if TYPE_CHECKING:
    import pandas as pd

ENROLMENT, PROBE = "enrolment", "probe"
"""Values of a pack's column `role`."""
P_TARGET = 0.05
"""Prior of a target trial in the detection cost; a miss and a false alarm cost 1 each."""

Vectors = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Trials(NamedTuple):
    """Probes against voiceprints.

    Attributes:
        places: of the probes among the utterances, (probes,).
        scores: (probes, speakers); -inf where there is no vector on one of the sides.
        targets: whether it is the same speaker, (probes, speakers).
    """

    places: npt.NDArray[np.int64]
    scores: Floats
    targets: Flags


class Voiceprints(NamedTuple):
    """Speakers, and the voiceprint of each, (speakers, dimension); NaN where no enrolment has a vector."""

    speakers: list[str]
    vectors: Vectors


def vectors_of(measured: pd.DataFrame) -> Vectors:
    """The column `vector` of a model's table, (utterances, dimension); NaN where the model gave none."""
    given = [np.asarray(one, dtype=np.float64) for one in measured["vector"]]
    dimension = max((one.size for one in given), default=0)
    return np.stack([one if one.size else np.full(dimension, np.nan) for one in given])


def voiceprints(vectors: Vectors, speakers: list[str]) -> Voiceprints:
    """One voiceprint a speaker, of enrolment vectors (utterances, dimension); speakers in sorted order."""
    names = sorted(set(speakers))
    who = np.array(speakers)
    means = np.stack([_mean(vectors[who == name]) for name in names])
    with np.errstate(invalid="ignore"):
        return Voiceprints(names, means / np.linalg.norm(means, axis=1, keepdims=True))


def _mean(vectors: Vectors) -> Floats:
    there = vectors[~np.isnan(vectors).any(axis=1)]
    return there.mean(axis=0) if len(there) else np.full(vectors.shape[1], np.nan)


def trials(utterances: pd.DataFrame, probing: Vectors, enrolled: Vectors) -> Trials | None:
    """Every probe of a pack against every voiceprint; None where the pack has no probe or no two enrolled speakers.

    `probing` and `enrolled` are vectors of all utterances, of one space: those of probes are taken from the first,
    those of enrolments from the second.
    """
    order = np.argsort(utterances["utterance_id"].to_numpy(dtype=str), kind="stable")
    roles = utterances["role"].to_numpy(dtype=str)[order]
    who = utterances["speaker"].to_numpy(dtype=str)[order]
    known = voiceprints(enrolled[order][roles == ENROLMENT], who[roles == ENROLMENT].tolist())
    probes = (roles == PROBE) & np.isin(who, known.speakers)
    if not probes.any() or len(known.speakers) < 2:
        return None
    scores = probing[order][probes] @ known.vectors.T
    targets = who[probes][:, None] == np.array(known.speakers)
    return Trials(order[probes], np.where(np.isnan(scores), -np.inf, scores), targets)


def _rates(found: Trials, threshold: float) -> tuple[Floats, Floats]:
    """Miss rate over its targets and false-alarm rate over its non-targets of each probe, (probes,) each."""
    accepted = found.scores >= threshold
    misses = (~accepted & found.targets).sum(axis=1) / found.targets.sum(axis=1)
    false_alarms = (accepted & ~found.targets).sum(axis=1) / (~found.targets).sum(axis=1)
    return misses, false_alarms


class Curve(NamedTuple):
    """The detection error trade-off: thresholds from high to low, and both rates at each, over all probes alike."""

    thresholds: Floats
    miss: Floats
    false_alarm: Floats


def curve(found: Trials) -> Curve:
    """Rates at every threshold that changes one; the first accepts nothing."""
    probes = len(found.scores)
    target_weight = (found.targets / found.targets.sum(axis=1, keepdims=True)).ravel() / probes
    other_weight = (~found.targets / (~found.targets).sum(axis=1, keepdims=True)).ravel() / probes
    scores = found.scores.ravel()
    order = np.argsort(-scores, kind="stable")[: np.isfinite(scores).sum()]
    ordered = scores[order]
    last = np.flatnonzero(np.append(np.diff(ordered), -1)[: len(ordered)])  # ties are accepted together
    hits, alarms = (np.concatenate([[0.0], np.cumsum(weight[order])[last]]) for weight in (target_weight, other_weight))
    return Curve(np.concatenate([[np.inf], ordered[last]]), 1 - hits, alarms)


def equal_error_threshold(det: Curve) -> float:
    """Where the two rates are nearest to each other; of several such places where their sum is least."""
    apart = np.round(np.abs(det.miss - det.false_alarm), 12)
    return float(det.thresholds[np.lexsort((det.miss + det.false_alarm, apart))[0]])


def least_cost_threshold(det: Curve) -> float:
    """Where the detection cost is least; of several such places the strictest."""
    return float(det.thresholds[np.argmin(np.round(P_TARGET * det.miss + (1 - P_TARGET) * det.false_alarm, 12))])


def _half_total_error(found: Trials) -> Floats:
    misses, false_alarms = _rates(found, equal_error_threshold(curve(found)))
    return (misses + false_alarms) / 2


def _least_cost(found: Trials) -> Floats:
    """Normalised by what refusing everybody costs."""
    misses, false_alarms = _rates(found, least_cost_threshold(curve(found)))
    return misses + (1 - P_TARGET) / P_TARGET * false_alarms


def _found_within(count: int) -> Callable[[Trials], Floats]:
    """1 where the probe's own speaker is among the `count` best, ties counted against it."""

    def measure(found: Trials) -> Floats:
        own = np.max(np.where(found.targets, found.scores, -np.inf), axis=1, keepdims=True)
        better = ((found.scores >= own) & ~found.targets).sum(axis=1)
        found_it: Floats = ((better < count) & np.isfinite(own[:, 0])).astype(np.float64)
        return found_it

    return measure


def _counts(evidence: Evidence, found: Trials | None, measure: Callable[[Trials], Floats]) -> Counts | None:
    if found is None:
        return None
    numerator, denominator = (np.zeros(len(evidence.utterances)) for _ in range(2))
    numerator[found.places], denominator[found.places] = measure(found), 1.0
    return Counts(numerator, denominator)


def _vectors(evidence: Evidence, table: pd.DataFrame | None) -> Vectors | None:
    if table is None or "vector" not in table.columns or "role" not in evidence.utterances.columns:
        return None
    vectors = vectors_of(table)
    return vectors if vectors.shape[1] else None


def _own(measure: Callable[[Trials], Floats]) -> Callable[[Evidence], Counts | None]:
    """Probes and voiceprints of one and the same model."""

    def counts(evidence: Evidence) -> Counts | None:
        vectors = _vectors(evidence, evidence.measured)
        return None if vectors is None else _counts(evidence, trials(evidence.utterances, vectors, vectors), measure)

    return counts


def _across(evidence: Evidence) -> Counts | None:
    """Probes of this model against voiceprints that stable enrolled; a first release has none but its own."""
    beside = evidence.measured if evidence.beside is None else evidence.beside
    probing, enrolled = _vectors(evidence, evidence.measured), _vectors(evidence, beside)
    if probing is None or enrolled is None or beside is None or evidence.measured is None:
        return None
    spaces = {*evidence.measured["space"], *beside["space"]}
    if len(spaces) > 1 or probing.shape[1] != enrolled.shape[1]:
        return None
    return _counts(evidence, trials(evidence.utterances, probing, enrolled), _half_total_error)


_SHOWN = (100.0, "%", " points", "probes")

EER = Metric("eer", "EER", "lower", _own(_half_total_error), *_SHOWN)
MIN_DCF = Metric("min_dcf", "minDCF", "lower", _own(_least_cost), support="probes")
RECALL_AT_1 = Metric("recall_at_1", "recall@1", "higher", _own(_found_within(1)), *_SHOWN)
RECALL_AT_5 = Metric("recall_at_5", "recall@5", "higher", _own(_found_within(5)), *_SHOWN)
CROSS_VERSION_EER = Metric("cross_version_eer", "EER across versions", "lower", _across, *_SHOWN)

EMBEDDING = (EER, MIN_DCF, RECALL_AT_1, RECALL_AT_5, CROSS_VERSION_EER)
"""The metrics of this family."""
