"""A payload over its packs again: does it give what it gave when it was released?

Boundary: pure; the report of the release and what the payload gives now in, figures and a verdict out.
Invariants: compared is every metric on every slice that the release compared with stable, whatever the task, by the
same normaliser and metrics; equal counts are the only Pass; what the release did not measure is not asked; a pack that
is another one, and a figure that cannot be had now, are Inconclusive (R4.2). Where the family's policy lets numbers of
golden outputs differ by a little (`golden_max_distance`), a difference within its gate's margin whose interval holds 0
is not told apart from that: Inconclusive. Every other difference is Fail, however small: software that is the same
gives the same.

The interval says what a difference means for users. Of the release there are sums and no utterances, so its rate is
taken as a fixed number, and the interval is that of the rate now, over speakers as in U4, all differences together at
the release's alpha. It is wider than the paired one where both runs vary alike and agree on most utterances (their
correlation is at least one half), as two runs of one payload do.
Source: statistics U2, U4, U5; release-algorithm R3.1, R4.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from contracts.drift import ScoredAgain
from contracts.policy import FamilyPolicy, MetricName
from contracts.reports import Comparison, Count, ScoreReport
from contracts.verdict import Value, Verdict, worst
from evalpacks import statistics
from evalpacks.comparisons import Heard
from evalpacks.metrics import METRICS, Counts, Outputs
from evalpacks.normalize import VERSIONS
from evalpacks.pack import Pack
from evalpacks.scoring import hear_pack
from evalpacks.slices import OVERALL
from evalpacks.statistics import Interval, Paired

OF_TWO_VERSIONS: frozenset[MetricName] = frozenset(("cross_version_eer",))
"""Metrics of what two versions are to each other; the other one is not run again."""
SHOWN = 4
"""Differences of a pack that are said; the figures hold all."""
_ROUNDING = 1e-9


class Rescored(NamedTuple):
    """All figures in the order of the release's report, and the worst verdict of the packs."""

    scores: tuple[ScoredAgain, ...]
    verdict: Verdict


class _Figure(NamedTuple):
    """One metric on one slice; `now` is None where it cannot be had."""

    before: Comparison
    heard: Heard
    now: Count | None

    @property
    def counts(self) -> Counts | None:
        return self.heard.counts.get(("candidate", self.before.metric))

    @property
    def same(self) -> bool | None:
        if self.now is None:
            return None
        pairs = zip(self.now.model_dump().values(), self.before.candidate.model_dump().values(), strict=True)
        return all(math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING) for one, other in pairs)


def score_again(
    released: ScoreReport, packs: Sequence[Pack], outputs: Mapping[str, Outputs], policy: FamilyPolicy
) -> Rescored:
    """Compare what a payload gives now with what it gave; `outputs` are by the name of the pack, whole packs.

    Raises Refused where a table lacks an utterance of its pack.
    """
    figures: list[_Figure] = []
    verdicts: list[Verdict] = []
    lacks = {pack.name: _lack(pack, released, policy) for pack in packs}
    for pack in packs:
        if lacks[pack.name]:
            verdicts.append(Verdict(value=Value.INCONCLUSIVE, reasons=(lacks[pack.name],)))
            continue
        heard = hear_pack(pack, {"candidate": outputs}, policy)
        figures += _figures(released, pack, heard)
    scores = tuple(_scored(figure, interval) for figure, interval in _with_intervals(figures, released, policy))
    tolerant = policy.staging.golden_max_distance > 0
    for pack in packs:
        if not lacks[pack.name]:
            own = [(one, _margin(one, policy) if tolerant else None) for one in scores if one.pack == pack.name]
            verdicts.append(_of_pack(pack.name, own))
    return Rescored(scores, worst(verdicts))


def _lack(pack: Pack, released: ScoreReport, policy: FamilyPolicy) -> str:
    """Why nothing on a pack can be compared, "" where it can."""
    if released.packs.get(pack.name) != pack.digest:
        return f"the pack {pack.name} is not the one the bundle was released on"
    if released.normalizer != VERSIONS[policy.normalizer]:
        return f"{pack.name}: texts were normalised by {released.normalizer} then, by {VERSIONS[policy.normalizer]} now"
    return ""


def _margin(one: ScoredAgain, policy: FamilyPolicy) -> float:
    """The narrowest absolute margin that the policy has for a metric on a pack."""
    gates = [gate for gate in policy.quality if (gate.pack, gate.metric) == (one.pack, one.metric)]
    return min((gate.margin for gate in gates if not gate.relative), default=0.0)


def _figures(released: ScoreReport, pack: Pack, heard: Heard) -> Iterator[_Figure]:
    """What the release measured on a pack, once each."""
    asked = {
        (one.metric, one.slice): one
        for one in released.comparisons
        if one.pack == pack.name and one.baseline == "stable" and one.metric not in OF_TWO_VERSIONS
    }
    for one in asked.values():
        if one.candidate.rate is not None:
            yield _Figure(one, heard, _now(one, heard))


def _now(before: Comparison, heard: Heard) -> Count | None:
    counts, mask = heard.counts.get(("candidate", before.metric)), heard.masks.get(before.slice)
    if counts is None or mask is None:
        return None
    return Count(numerator=float(counts.numerator[mask].sum()), denominator=float(counts.denominator[mask].sum()))


def _with_intervals(
    figures: Sequence[_Figure], released: ScoreReport, policy: FamilyPolicy
) -> list[tuple[_Figure, Interval | None]]:
    """Each figure, with an interval of its difference where there is one."""
    moved = [
        at for at, one in enumerate(figures) if one.same is False and one.now is not None and one.now.rate is not None
    ]
    intervals = statistics.compare(
        [_against_fixed(figures[at]) for at in moved],
        alpha=released.alpha, replicates=policy.statistics.replicates, seed=policy.statistics.seed,
    )  # fmt: skip
    found = dict(zip(moved, intervals, strict=True))
    return [(figure, found.get(at)) for at, figure in enumerate(figures)]


def _against_fixed(figure: _Figure) -> Paired:
    """The rate of now beside that of the release as a fixed number."""
    counts, rate = figure.counts, figure.before.candidate.rate
    assert counts is not None
    assert rate is not None
    return Paired(
        population=figure.before.pack, candidate=counts.numerator, stable=rate * counts.denominator,
        denominator=counts.denominator, mask=figure.heard.masks[figure.before.slice] & (counts.denominator > 0),
        speakers=figure.heard.speakers, better=figure.before.better,
    )  # fmt: skip


def _scored(figure: _Figure, interval: Interval | None) -> ScoredAgain:
    before, same = figure.before, figure.same
    none = 0.0 if same else None
    return ScoredAgain(
        pack=before.pack, metric=before.metric, slice=before.slice, better=before.better, released=before.candidate,
        measured=figure.now, same=same,
        difference=interval.estimate if interval else none,
        lower=interval.lower if interval else none,
        upper=interval.upper if interval else none,
    )  # fmt: skip


# ---- verdicts and sentences -----------------------------------------------------------------------------------------
def _of_pack(name: str, scores: Sequence[tuple[ScoredAgain, float | None]]) -> Verdict:
    """The verdict of a pack's figures, each with the margin that it may differ by (None: not at all)."""
    if not scores:
        reason = f"{name}: the release measured nothing on it that can be measured again"
        return Verdict(value=Value.INCONCLUSIVE, reasons=(reason,))
    by_value: dict[Value, list[str]] = {}
    for one, margin in scores:
        value = _value(one, margin)
        if value != Value.PASS:
            by_value.setdefault(value, []).append(_in_words(one, value))
    if not by_value:
        whole = [_rate(one.metric, one.released) for one, _ in scores if one.slice == OVERALL]
        says = f"{', '.join(whole) or f'{len(scores)} figures'} as released, every count equal"
        return Verdict(value=Value.PASS, reasons=(f"{name}: {says}",))
    return worst(Verdict(value=value, reasons=_first(name, said)) for value, said in by_value.items())


def _value(one: ScoredAgain, margin: float | None) -> Value:
    if one.same:
        return Value.PASS
    if one.same is None:
        return Value.INCONCLUSIVE
    if margin is None or one.difference is None or one.lower is None or one.upper is None:
        return Value.FAIL
    told_apart = abs(one.difference) > margin or not one.lower <= 0 <= one.upper
    return Value.FAIL if told_apart else Value.INCONCLUSIVE


def _first(name: str, said: Sequence[str]) -> tuple[str, ...]:
    more = len(said) - SHOWN
    rest = f"{name}: {more} more figure{' differs' if more == 1 else 's differ'}"
    return (*said[:SHOWN], *([rest] if more > 0 else []))


def _rate(metric: MetricName, count: Count) -> str:
    """`WER 8.41%`; `no WER` where there is no denominator."""
    kind, rate = METRICS[metric], count.rate
    return f"no {kind.label}" if rate is None else f"{kind.label} {rate * kind.scale:.2f}{kind.value_unit}"


def _in_words(one: ScoredAgain, value: Value) -> str:
    kind, where = METRICS[one.metric], f"{one.pack}/{one.slice}"
    before = _rate(one.metric, one.released)
    if one.measured is None:
        return f"{where}: {before} when released, not measured now"
    after = _rate(one.metric, one.measured).removeprefix(f"{kind.label} ")
    change = ""
    if one.difference is not None:
        bounds = ", ".join("unknown" if at is None else f"{at * kind.scale:+.2f}" for at in (one.lower, one.upper))
        change = f" ({one.difference * kind.scale:+.2f}{kind.difference_unit} [{bounds}])"
    says = "the environment changed" if value == Value.FAIL else "within what the policy lets numbers differ by"
    return f"{where}: {before} when released, {after} now{change}: {says}"
