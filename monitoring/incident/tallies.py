"""Counts of every metric by slice and side, with how much they vary between sessions.

Boundary: pure; a table of telemetry in (columns of serving.telemetry.read), sums out.
Method: a rate is a ratio of sums; its variance is that of the ratio linearised over sessions (statistics U1, U2), so
that many requests of one session are not many witnesses.
Invariants: shadow copies reach nobody and are left out; each side is one of `before`, `stable` and `canary`; a metric
without a denominator has no rate, it is not 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from monitoring.incident.naming import LABELS, OVERALL
from monitoring.incident.turns import Turns, turns_of

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
SIDES = ("before", "stable", "canary")
STAGES: Mapping[str, str] = {
    "queue": "queue_ms", "preprocess": "preprocess_ms", "inference": "infer_ms", "postprocess": "postprocess_ms",
}  # fmt: skip
"""Stage -> the telemetry column that times it; inference is recogniser and decoder together, which share a loop."""
EVENTS: Mapping[str, str] = {
    "correction_rate": "corrections", "interruption_rate": "interruptions", "abandonment_rate": "abandonments",
    "underrun_rate": "underruns", "support_ticket_rate": "support_tickets",
}  # fmt: skip
CLIENT_LEFT = 499
BELIEVED = 1e12
"""No count, duration or price of one request is as large."""
REWRITTEN = 0.3
"""Share of the words shown in partials above which a caption is unreadable."""
UNLABELLED = frozenset({"none", "nan", "None"})
"""What stands where a request has no such label."""
COLUMNS = (
    "timestamp", "session_id", "bundle", "arm", "status", "error_code", "worker_died", "retries", "audio_s",
    "speech_s", "level_dbfs", "latency_ms", "first_partial_ms", "first_audio_ms",
    "preprocess_ms", "queue_ms", "infer_ms", "postprocess_ms", "partial_words",
    "unstable_words", "confidence", "cost_usd", "privacy_errors", "errors", "words", "grounded", "handoff", "barge_ins",
    *LABELS, *EVENTS.values(),
)  # fmt: skip
"""What is read of telemetry."""


class Tally(NamedTuple):
    """A ratio of sums over `sessions` sessions; `rate` and `variance` are None and 0 without a denominator."""

    numerator: float
    denominator: float
    variance: float
    sessions: int

    @property
    def rate(self) -> float | None:
        """The ratio."""
        return self.numerator / self.denominator if self.denominator > 0 else None


class Table(NamedTuple):
    """Telemetry made ready: the rows that users got, codes of side, session and labels, and one column a measure."""

    rows: pd.DataFrame
    side: Codes
    session: Codes
    labels: Mapping[str, tuple[Codes, Sequence[str]]]
    measures: Mapping[str, tuple[Floats, Floats]]
    harmed: npt.NDArray[np.bool_]

    def now(self) -> npt.NDArray[np.bool_]:
        """The rows of the window."""
        return self.side > 0


def column(rows: pd.DataFrame, name: str) -> Floats:
    """A column of numbers; what is missing or cannot be a count or a duration is NaN."""
    found = rows[name].to_numpy(dtype=float, na_value=np.nan)
    return np.where((found >= 0) & (found < BELIEVED), found, np.nan)


def prepare(rows: pd.DataFrame, *, since_s: float, slow_ms: float | None, ask_again_s: float) -> Table:
    """Read a table of telemetry once.

    Args:
        since_s: where the window begins; rows before it are the baseline.
        slow_ms: from where an answer counts as slow; None: what 95% of the baseline's answers stayed under.
        ask_again_s: within which the same recording of a session is the same turn (turns.py).
    """
    import pandas as pd

    rows = rows[rows["arm"].isin(("stable", "canary")).to_numpy(dtype=bool)]
    late = rows["timestamp"].to_numpy() >= since_s
    canary = (rows["arm"] == "canary").to_numpy(dtype=bool)
    keep = late | ~canary  # what an earlier canary did is no baseline
    rows, late, canary = rows[keep], late[keep], canary[keep]
    side = late.astype(np.int64) + (late & canary)
    labels = {}
    for label in LABELS:
        codes, values = pd.factorize(rows[label])
        labels[label] = (codes.astype(np.int64), [str(value) for value in values])
    session = pd.factorize(rows["session_id"])[0].astype(np.int64)
    measures, harmed = _measures(rows, side, session, slow_ms, ask_again_s)
    return Table(rows, side, session, labels, measures, harmed)


def _measures(
    rows: pd.DataFrame, side: Codes, session: Codes, slow_ms: float | None, ask_again_s: float
) -> tuple[dict[str, tuple[Floats, Floats]], npt.NDArray[np.bool_]]:
    one = np.ones(len(rows))
    status = column(rows, "status")
    answered = (status == 200).astype(float)
    failed = ((status >= 500) | (status == 429)).astype(float)
    latency, partial = column(rows, "latency_ms"), column(rows, "first_partial_ms")
    told = {name: np.minimum(np.nan_to_num(column(rows, source)), 1.0) for name, source in EVENTS.items()}
    unhappy = (told["correction_rate"] + told["abandonment_rate"] + told["support_ticket_rate"]) > 0
    turns = _turns(rows, session, (answered > 0) & ~unhappy, ask_again_s)
    turn, success = 1.0 - turns.again, turns.success.astype(float)
    spoken = column(rows, "first_audio_ms")
    waited = np.where(np.isnan(spoken), latency, spoken)  # a reply that is heard to its end is no longer a wait
    tail = _over(waited, _usual(waited, side)) * answered
    slow = tail if slow_ms is None else _over(latency, slow_ms) * answered
    private = np.nan_to_num(column(rows, "privacy_errors"))
    words, confidence = column(rows, "words"), column(rows, "confidence")
    cost = np.nan_to_num(column(rows, "cost_usd"))
    attempts = 1 + np.nan_to_num(column(rows, "retries"))
    measures = {
        "failure_rate": (failed, one),
        "slow_rate": (slow, answered),
        "tail_rate": (tail, answered),
        "late_partial_rate": (_over(partial, _usual(partial, side)), (~np.isnan(partial)).astype(float)),
        "rewritten": (_rewritten(rows), one),
        "churn": _ratio(column(rows, "unstable_words"), column(rows, "partial_words")),
        "wer": _ratio(column(rows, "errors"), words),
        "confidence": _ratio(confidence, np.where(np.isnan(confidence), 0.0, 1.0)),
        "success_rate": (success, turn),
        "retry_rate": (attempts - turn, turn),
        "cancellation_rate": ((status == CLIENT_LEFT).astype(float), one),
        "usd_per_success": (cost, success),
        "cost_usd": (cost, turn),
        "attempts": (attempts, turn),
        "audio_s": (np.nan_to_num(column(rows, "audio_s")), one),
        "privacy_rate": (private, one),
        "worker_deaths": (np.nan_to_num(column(rows, "worker_died")), one),
        **{name: (count, one) for name, count in told.items()},
        **_of_dialogues(rows, told["interruption_rate"]),
        **_stages(rows, latency, answered),
    }
    harmed = (failed > 0) | (slow > 0) | (private > 0) | (measures["rewritten"][0] > 0) | (sum(told.values()) > 0)
    return measures, np.asarray(harmed, dtype=bool)


def _of_dialogues(rows: pd.DataFrame, interruptions: Floats) -> dict[str, tuple[Floats, Floats]]:
    """Of turns of a dialogue: those that were not grounded, went to a person, and broke in.

    A client tells an interruption of the turn whose reply it broke off, the server counts it in the turn that follows:
    the two meet in the sums of a session.
    """
    grounded, handoff, barge_ins = (column(rows, name) for name in ("grounded", "handoff", "barge_ins"))
    heard = ~np.isnan(barge_ins)
    return {
        "ungrounded_rate": _ratio(1.0 - grounded, np.where(np.isnan(grounded), np.nan, 1.0)),
        "handoff_rate": _ratio(handoff, np.where(np.isnan(handoff), np.nan, 1.0)),
        "barge_in_share": (np.nan_to_num(barge_ins), np.where(heard, interruptions, 0.0)),
    }


def _turns(rows: pd.DataFrame, session: Codes, success: npt.NDArray[np.bool_], within_s: float) -> Turns:
    sound = [rows[name].to_numpy(dtype=float, na_value=np.nan) for name in ("audio_s", "speech_s", "level_dbfs")]
    times = rows["timestamp"].to_numpy(dtype=float)
    return turns_of(session, times, sound, success, within_s=within_s)


def _stages(rows: pd.DataFrame, latency: Floats, answered: Floats) -> dict[str, tuple[Floats, Floats]]:
    """Milliseconds of each stage; the gateway's own is what is left, which of a stream says nothing: its stages are
    sums over chunks that were heard while the caller spoke."""
    spent = {name: np.nan_to_num(column(rows, source)) for name, source in STAGES.items()}
    whole = (rows["mode"] == "http").to_numpy(dtype=bool) & ~np.isnan(latency)
    rest = np.clip(np.nan_to_num(latency) - sum(spent.values()), 0.0, None)
    stages = {f"stage.{name}": (taken * answered, answered) for name, taken in spent.items()}
    return {**stages, "stage.gateway": (rest * whole * answered, whole * answered)}


def _rewritten(rows: pd.DataFrame) -> Floats:
    """Streams whose captions kept changing: more than REWRITTEN of the words shown were taken back."""
    shown = np.nan_to_num(column(rows, "partial_words"))
    return ((np.nan_to_num(column(rows, "unstable_words")) > REWRITTEN * shown) & (shown > 0)).astype(float)


def _usual(values: Floats, side: Codes) -> float:
    """What 95% of the baseline stayed under; where there is no baseline, of stable's window."""
    for chosen in (0, 1):
        found = values[(side == chosen) & ~np.isnan(values)]
        if len(found):
            return float(np.quantile(found, 0.95))
    return float("inf")


def _over(values: Floats, threshold: float) -> Floats:
    return (np.nan_to_num(values) > threshold).astype(float)


def _ratio(numerator: Floats, denominator: Floats) -> tuple[Floats, Floats]:
    """Both where both are known, else nothing."""
    known = ~np.isnan(numerator) & ~np.isnan(denominator) & (np.nan_to_num(denominator) > 0)
    return np.where(known, np.nan_to_num(numerator), 0.0), np.where(known, np.nan_to_num(denominator), 0.0)


Tallies = Mapping[str, Mapping[str, Mapping[str, Tally]]]
"""Side -> slice -> metric -> tally."""


def tally(cells: Cells, name: Callable[[str, str], str], *, smallest: int) -> Tallies:
    """Every metric by side and slice; groups of fewer than `smallest` sessions are left out.

    Of a label of which exactly one group is small the next smallest goes too: the difference to the whole would show
    it.
    """
    found: dict[str, dict[str, dict[str, Tally]]] = {side: {} for side in SIDES}
    for label in (OVERALL, *LABELS):
        codes, values = cells.labels[label]
        if label != OVERALL and len(values) == 1:
            continue  # that is the whole
        sums = _sums(cells, codes, len(values))
        least = 1 if label == OVERALL else smallest
        left_out = small_groups(sums.sessions.max(axis=0), least)
        for place, value in enumerate(values):
            if place in left_out or (label != OVERALL and value in UNLABELLED):
                continue
            called = OVERALL if label == OVERALL else name(label, value)
            for number, side in enumerate(SIDES):
                if sums.sessions[number, place] >= least:
                    found[side][called] = sums.tallies(number, place)
    return found


def small_groups(sessions: Codes, smallest: int) -> set[int]:
    """Places of the groups that are not shown."""
    order = [int(place) for place in np.argsort(sessions, kind="stable") if sessions[place] > 0]
    small = [place for place in order if sessions[place] < smallest]
    return set(order[:2] if len(small) == 1 else small)


class Cells(NamedTuple):
    """Rows of one session, side and set of labels, summed."""

    side: Codes
    session: Codes
    labels: Mapping[str, tuple[Codes, Sequence[str]]]
    measures: Mapping[str, tuple[Floats, Floats]]


class _Sums(NamedTuple):
    """Sums by (side, place): numerator n, denominator d, their squares and product over sessions."""

    sessions: Codes
    moments: Mapping[str, tuple[Floats, Floats, Floats, Floats, Floats]]

    def tallies(self, side: int, place: int) -> dict[str, Tally]:
        """Every metric of one group."""
        sessions = int(self.sessions[side, place])
        found = {}
        for name, moments in self.moments.items():
            n, d, nn, nd, dd = (float(moment[side, place]) for moment in moments)
            rate = n / d if d > 0 else 0.0
            spread = max(nn - 2 * rate * nd + rate * rate * dd, 0.0) / (d * d) if d > 0 else 0.0
            found[name] = Tally(n, d, spread * sessions / max(sessions - 1, 1), sessions)
        return found


def _compact(parts: Sequence[Codes]) -> tuple[Codes, Codes]:
    """One code for each combination, and a row that has it."""
    import pandas as pd

    combined: Codes = np.zeros(len(parts[0]), dtype=np.int64)
    for part in parts:
        size = int(part.max(initial=0)) + 2
        combined = pd.factorize(combined * size + part + 1)[0].astype(np.int64)
    _, first = np.unique(combined, return_index=True)
    return combined, first.astype(np.int64)


def _bins(places: Codes, values: Floats, size: int) -> Floats:
    """Sums of `values` by place."""
    return np.asarray(np.bincount(places, weights=values, minlength=size), dtype=np.float64)


def cells_of(table: Table) -> Cells:
    """Sum a table by session, side and labels."""
    cell, first = _compact([table.side, table.session, *(codes for codes, _ in table.labels.values())])
    size = len(first)
    labels = {label: (codes[first], values) for label, (codes, values) in table.labels.items()}
    labels[OVERALL] = (np.zeros(size, dtype=np.int64), [OVERALL])
    summed: dict[int, Floats] = {}

    def total(values: Floats) -> Floats:
        if id(values) not in summed:  # denominators are shared by many metrics
            summed[id(values)] = _bins(cell, values, size)
        return summed[id(values)]

    measures = {name: (total(n), total(d)) for name, (n, d) in table.measures.items()}
    return Cells(table.side[first], table.session[first], labels, measures)


def without(cells: Cells, name: Callable[[str, str], str], slices: Collection[str]) -> Cells:
    """The cells that are in none of these slices."""
    kept = np.ones(len(cells.side), dtype=bool)
    for label, (codes, values) in cells.labels.items():
        gone = [place for place, value in enumerate(values) if label != OVERALL and name(label, value) in slices]
        kept &= ~np.isin(codes, gone)
    labels = {label: (codes[kept], values) for label, (codes, values) in cells.labels.items()}
    once: dict[int, Floats] = {}

    def chosen(values: Floats) -> Floats:
        return once.setdefault(id(values), values[kept])

    measures = {metric: (chosen(n), chosen(d)) for metric, (n, d) in cells.measures.items()}
    return Cells(cells.side[kept], cells.session[kept], labels, measures)


def _sums(cells: Cells, codes: Codes, places: int) -> _Sums:
    known = codes >= 0
    groups = len(SIDES) * places
    group = (cells.side * places + codes)[known]
    unit, first = _compact([group, cells.session[known]])
    owner, size, all_known = group[first], len(first), bool(known.all())
    alone = size == len(unit)  # a session is one cell, mostly

    def of_unit(values: Floats) -> Floats:
        values = values if all_known else values[known]
        return values if alone else _bins(unit, values, size)

    def summed(values: Floats) -> Floats:
        return _bins(owner, values, groups).reshape(len(SIDES), places)

    once: dict[int, tuple[Floats, Floats, Floats]] = {}
    moments = {}
    for metric, (numerator, denominator) in cells.measures.items():
        if id(denominator) not in once:  # many metrics have the same one
            d = of_unit(denominator)
            once[id(denominator)] = (d, summed(d), summed(d * d))
        d, sum_d, sum_dd = once[id(denominator)]
        n = of_unit(numerator)
        moments[metric] = (summed(n), sum_d, summed(n * n), summed(n * d), sum_dd)
    sessions = np.bincount(owner, minlength=groups).reshape(len(SIDES), places)
    return _Sums(sessions.astype(np.int64), moments)
