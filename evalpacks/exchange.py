"""Cost against quality: what a cheaper candidate saves, which slice pays for it, which models are worth having.

Boundary: pure; reports and points in, comparisons and sentences out.
Invariants: a saving widens margins only where it is as large as the policy asks, and never on a slice that is protected
or high-risk, nor against the full-precision parent; a verdict that passes already is left alone; who pays is read from
simultaneous bounds, so that noise is not called a price. Source: contracts.policy.Exchange; release-algorithm R4.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from contracts.policy import Exchange
from contracts.reports import Comparison, ScoreReport, TimingReport
from contracts.verdict import Value, Verdict
from evalpacks.metrics import METRICS
from evalpacks.severity import harm, is_proven, strain
from evalpacks.statistics import Interval, Support, regression_verdict

_EDGE = 1e-9
"""Rounding that does not turn a saving exactly as large as asked into one below it."""


class Point(NamedTuple):
    """A model: what an audio hour costs (USD), its rates on each slice (lower is better), and what they are of."""

    cost: float
    rates: Mapping[str, float]
    metric: str = "WER"


def point_of(score: ScoreReport, timing: TimingReport) -> Point:
    """A scored model: its cost, and its WER on every slice that a gate names (`pack/slice`).

    Where WER is not asked it is every metric that is; of one where higher is better the sign is changed.
    """
    known = [(row, row.candidate.rate) for row in score.comparisons if row.candidate.rate is not None]
    worded = {f"{row.pack}/{row.slice}": rate for row, rate in known if row.metric == "wer"}
    if worded:
        return Point(timing.cost_usd_per_audio_hour, worded)
    rates = {f"{row.pack}/{row.slice} {row.metric}": rate if row.better == "lower" else -rate for row, rate in known}
    return Point(timing.cost_usd_per_audio_hour, rates, "every metric")


def saving(timing: TimingReport) -> float | None:
    """The share of the stable one's cost that the candidate saves; negative: it costs more; None: not known."""
    return _share_saved(timing.cost_usd_per_audio_hour, timing.stable_cost_usd_per_audio_hour)


def settle(
    comparisons: Sequence[Comparison], timing: TimingReport, exchange: Exchange | None
) -> tuple[Comparison, ...]:
    """The comparisons as they stand when a saving has paid for what it may pay for."""
    saved = saving(timing)
    if exchange is None or saved is None or saved < exchange.min_saving - _EDGE:
        return tuple(comparisons)
    note = f"the margin is {exchange.extra_margin:g} wider for a saving of {saved:.0%}"
    return tuple(_widened(row, exchange.extra_margin, note) for row in comparisons)


def _widened(row: Comparison, extra: float, note: str) -> Comparison:
    if row.protected or row.high_risk or row.baseline == "parent" or row.verdict.value == Value.PASS:
        return row
    if row.stable is None or row.estimate is None or row.margin is None:
        return row
    margin = row.margin + extra
    verdict = regression_verdict(
        f"{row.pack}/{row.slice}",
        METRICS[row.metric],
        row.candidate,
        row.stable,
        _interval(row),
        speakers=row.speakers,
        margin=margin,
        limit=row.limit,
        support=Support(speakers=0, denominator=0),
    )
    reasons = tuple(f"{reason}; {note}" for reason in verdict.reasons)
    return row.model_copy(update={"margin": margin, "verdict": Verdict(value=verdict.value, reasons=reasons)})


def _interval(row: Comparison) -> Interval:
    """The interval that a comparison was judged by; a relative budget's bound as one of the difference itself."""
    own = row.upper_one_sided
    if row.relative:
        own = None if row.excess_one_sided is None or row.margin is None else row.margin + row.excess_one_sided
    return Interval(
        estimate=row.estimate,
        lower=row.lower,
        upper=row.upper,
        upper_one_sided=own,
        unit=row.unit,
        units=row.speakers if row.unit == "speaker" else row.utterances,
        speakers=row.speakers,
        utterances=row.utterances,
    )


def sentences(comparisons: Sequence[Comparison], timing: TimingReport, exchange: Exchange | None) -> tuple[str, ...]:
    """What the candidate saves, what that buys it, and which slice pays how much, the greatest harm first.

    () for a first release: there is nothing to exchange.
    """
    if timing.stable_payload is None:
        return ()
    figures = [
        _change("cost", " USD/audio hour", timing.cost_usd_per_audio_hour, timing.stable_cost_usd_per_audio_hour),
        _change("peak memory", " MB", timing.peak_memory_mb, timing.stable_peak_memory_mb),
        _change("RTF", "", timing.rtf, timing.stable_rtf),
    ]
    return (", ".join(figures), *_bought(timing, exchange), *_paid(comparisons))


def _change(label: str, unit: str, candidate: float, stable: float | None) -> str:
    share = _share_saved(candidate, stable)
    if stable is None or share is None:
        return f"{label} {candidate:.3g}{unit} (stable's is not known)"
    less = f"{abs(share):.0%} {'less' if share > 0 else 'more'}" if round(abs(share), 2) else "the same"
    return f"{label} {stable:.3g} -> {candidate:.3g}{unit} ({less})"


def _bought(timing: TimingReport, exchange: Exchange | None) -> list[str]:
    saved = saving(timing)
    if exchange is None:
        return []
    if saved is None:
        return ["no margin is wider: what the candidate saves is not known"]
    if saved < exchange.min_saving - _EDGE:
        return [f"no margin is wider: the policy asks for a saving of {exchange.min_saving:.0%}"]
    return [f"margins of slices that are neither protected nor high-risk are {exchange.extra_margin:g} wider"]


def _paid(comparisons: Sequence[Comparison]) -> list[str]:
    compared = [row for row in comparisons if row.estimate is not None and row.baseline == "stable"]
    if not compared:
        return []
    payers = sorted((row for row in compared if is_proven(row)), key=lambda row: (-strain(row), row.pack, row.slice))
    return [_price(row) for row in payers] or ["no slice is proven to pay"]


def _price(row: Comparison) -> str:
    metric, loss = METRICS[row.metric], harm(row)
    assert loss is not None
    marked = ", ".join(
        name for name, applies in (("protected", row.protected), ("high risk", row.high_risk)) if applies
    )
    lost = f"{metric.label} {abs(loss) * metric.scale:.1f}{metric.difference_unit} worse"
    return f"{row.pack}/{row.slice} pays {lost}" + (f" ({marked})" if marked else "")


def dominated(points: Mapping[str, Point]) -> dict[str, tuple[str, ...]]:
    """Model -> the models that cost no more and are no worse on any slice, and better in something; () on the frontier.

    Slices that one of two models has no rate for are not compared; without a common slice neither dominates.

    >>> large, small, old = Point(0.10, {"us": 0.05}), Point(0.02, {"us": 0.08}), Point(0.10, {"us": 0.09})
    >>> dominated({"large": large, "small": small, "old": old})
    {'large': (), 'small': (), 'old': ('large', 'small')}
    """
    return {
        name: tuple(other for other, rival in points.items() if other != name and _dominates(rival, point))
        for name, point in points.items()
    }


def frontier(models: Mapping[str, Point]) -> tuple[str, ...]:
    """Which models are worth having and which are not, in a sentence; () for fewer than two models."""
    if len(models) < 2:
        return ()
    rivals = dominated(models)
    kept = ", ".join(f"{name} {models[name].cost:.3g} USD" for name in models if not rivals[name])
    beaten = [
        f"{name} is worse or dearer than {', '.join(by)} and in nothing better" for name, by in rivals.items() if by
    ]
    metric = next(iter(models.values())).metric
    measured = f"cost an audio hour against {metric} on every gated slice, earlier models as measured at their release"
    return ("; ".join([f"worth having: {kept}", *beaten]) + f" ({measured})",)


def _dominates(rival: Point, point: Point) -> bool:
    common = rival.rates.keys() & point.rates.keys()
    pairs = [(rival.cost, point.cost), *((rival.rates[name], point.rates[name]) for name in common)]
    return bool(common) and all(own <= other for own, other in pairs) and any(own < other for own, other in pairs)


def _share_saved(candidate: float, stable: float | None) -> float | None:
    return None if not stable else 1 - candidate / stable
