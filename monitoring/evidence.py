"""Evidence on one metric of one slice that can be looked at at any time: e-processes from sessions.

Purpose: how sure it is that the canary is worse by more than the margin, and that it is not (U6, U7).
Boundary: pure; arrays of closed sessions in, e-values out.
Invariants: a session enters once, in the order of closing; how sessions are cut into batches changes nothing; no
e-value stands before both arms have their minimum of sessions; the size and the rate of a session are capped, so that
no session decides alone.
Method: sessions of the two arms are paired in the order of closing, so that both sides of a pair saw the same hour (a
session that both arms heard, as shadow copies are, is a pair with itself). A pair speaks by the linearised difference
g = n_c d_s - n_s d_c of its sums (numerator n, denominator d), v = margin d_c d_s is what it may be.
    worse  prod (1 + tanh(bet g)) exp(-bet v): where the arms are alike the sign of g is a fair coin, so that this is a
           supermartingale whatever the outcomes are, in any environment that changes with time; where the canary is
           worse by up to the margin it is one but for terms of third order, and the certificate vouches for it
           (benchmarks/canary_power.py, U8).
    fine   prod (1 + bet (v - g)): betting on bounded means (Waudby-Smith and Ramdas 2024); with sessions of equal law
           it is a supermartingale while the canary is worse by the margin or more.
A budget is held by the canary's sessions alone, betting on n - budget d. Bets are mixed over a grid, which costs a
factor of at most its length and needs no tuning. What scales a bet is taken from the first sessions: their sizes, and
how far pairs lie apart whichever way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.policy import CanaryMetric

Floats = npt.NDArray[np.float64]
RatioAt = Callable[[float], int]

WORSE_BETS: Floats = np.array([0.03, 0.06, 0.12, 0.25, 0.5, 1.0])
"""In units of one over the spread of a pair: the best bet is the harm over the margin in spreads."""
FINE_BETS: Floats = np.array([0.05, 0.15, 0.4, 0.95, 0.95])
"""In units of one over the most that a pair can lose; the boldest twice, which is best where harm is rare."""
RARE_RATE = 4.0
"""A rate without natural bound (cost a second) counts as at most so many times the mean of the first sessions."""
LEAST_SPREAD = 0.02
"""Of the largest possible difference of a pair: where the first sessions show less, bets stay small."""
MAX_E = 1e9
"""E-values are told up to here."""


class Units(NamedTuple):
    """Sessions of one arm in the order of closing: when (s), numerators, denominators; each (sessions,)."""

    closed_s: Floats
    n: Floats
    d: Floats

    def part(self, start: int | None, end: int | None) -> Units:
        """The sessions from `start` to before `end`."""
        return Units(self.closed_s[start:end], self.n[start:end], self.d[start:end])


def no_units() -> Units:
    """No session."""
    return Units(np.empty(0), np.empty(0), np.empty(0))


def joined(parts: Sequence[Units]) -> Units:
    """Parts one after another, in the order of closing; what closed at once stays as it came."""
    together = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(together[0], kind="stable")
    return Units(*(column[order] for column in together))


class Path(NamedTuple):
    """A step function of time: `before` until the first of `at_s`, then `log_e` from each; times increase strictly."""

    before: float
    at_s: Floats
    log_e: Floats

    def at(self, times_s: Floats) -> Floats:
        """The value at each time."""
        return np.append(self.before, self.log_e)[np.searchsorted(self.at_s, times_s, side="right")]


def _path(before: float, at_s: Floats, log_e: Floats) -> Path:
    last = np.append(np.diff(at_s) > 0, True)[: len(at_s)]
    return Path(before, at_s[last], log_e[last])


def lowest(first: Path, second: Path) -> Path:
    """An e-process for "both": the smaller of two."""
    times = np.union1d(first.at_s, second.at_s)
    return Path(min(first.before, second.before), times, np.minimum(first.at(times), second.at(times)))


class Wealth:
    """A mixture of bettors on one stream of outcomes; `log_e` is the log of their mean wealth."""

    def __init__(self, bettors: int) -> None:
        self._log = np.zeros(bettors)
        self.log_e = 0.0

    def bet(self, at_s: Floats, growth: Floats) -> Path:
        """Log growth of each bettor at each outcome, (bettors, outcomes), in time order; the path of the mean."""
        before = self.log_e
        if not growth.shape[1]:
            return Path(before, np.empty(0), np.empty(0))
        logs = self._log[:, None] + np.cumsum(growth, axis=1)
        self._log = logs[:, -1].copy()
        top = logs.max(axis=0)
        path = top + np.log(np.exp(logs - top).mean(axis=0))
        self.log_e = float(path[-1])
        return _path(before, at_s, path)


@dataclass(frozen=True, slots=True)
class Rule:
    """What is asked of a metric.

    Attributes:
        against_stable: the arms are compared; the canary may be worse by `margin` (`relative`: a share of stable's).
        budget: the rate that the canary is held to by itself, None: none. With both, worse means worse than both.
        higher: higher is better.
        size_cap: a session counts as at most so much of the denominator.
        total_cap: and as at most so much of the numerator.
    """

    against_stable: bool
    budget: float | None
    margin: float = 0.0
    relative: bool = False
    higher: bool = False
    size_cap: float = math.inf
    total_cap: float = math.inf


def rule_of(metric: CanaryMetric, caps: dict[str, float], *, baseline: bool) -> Rule:
    """A quantile metric is a share of requests over its budget (U7); a first release is held to budgets (R4.3)."""
    if metric.kind == "quantile":
        return Rule(
            against_stable=baseline,
            budget=1 - metric.quantile,
            margin=metric.margin,
            relative=metric.relative,
            size_cap=caps.get("utterances", math.inf),
        )
    tolerance = metric.margin * (abs(metric.budget or 0.0) if metric.relative else 1.0)
    held_to = None
    if metric.budget is not None and not baseline:
        held_to = metric.budget - tolerance if metric.better == "higher" else metric.budget + tolerance
    return Rule(
        against_stable=baseline,
        budget=held_to,
        margin=metric.margin,
        relative=metric.relative,
        higher=metric.better == "higher",
        size_cap=caps.get(metric.denominator, math.inf),
        total_cap=caps.get(metric.numerator, math.inf),
    )


class _Scale(NamedTuple):
    """What a session is measured by: its size, its largest rate, and how far a pair's sums lie apart."""

    size: float
    rate: float
    spread: float


class Totals:
    """Sums over the sessions of one arm, for rates and their spread."""

    def __init__(self) -> None:
        self.sessions = 0
        self._sums = np.zeros(5)

    def add(self, units: Units) -> None:
        """Count these sessions."""
        _, n, d = units
        self.sessions += len(n)
        # Sums of products, not dot products: their threads cost more than so few numbers.
        self._sums += [value.sum() for value in (n, d, n * n, n * d, d * d)]

    @property
    def rate(self) -> float | None:
        """Ratio of sums (U2)."""
        return float(self._sums[0] / self._sums[1]) if self._sums[1] > 0 else None

    @property
    def variance(self) -> float:
        """Of the rate, linearised over sessions (Deng et al. 2018)."""
        rate = self.rate
        if rate is None or self.sessions < 2:
            return 0.0
        _, d, nn, nd, dd = self._sums
        residual = max(nn - 2 * rate * nd + rate**2 * dd, 0.0)
        return float(residual * self.sessions / (self.sessions - 1) / d**2)


class Comparison:
    """The evidence on one metric of one slice; `worse` and `fine` are logs of e-values."""

    def __init__(self, rule: Rule, *, min_sessions: int, fine_at: float) -> None:
        """`fine_at` is the e-value from which the canary is known not to be worse by the margin."""
        self.rule = rule
        self.totals = {"stable": Totals(), "canary": Totals()}
        self.opened_s = math.inf
        self.fine_s: float | None = None
        self.worse = self.fine = 0.0
        self._log_fine_at = math.log(fine_at)
        self._needed = min_sessions
        self._scale: _Scale | None = None
        self._stable_a_canary = 1
        self._canary = self._stable = no_units()
        self._shared = (no_units(), no_units())
        self._alone = no_units()
        self._ready_s = -math.inf
        self._pairs_worse, self._pairs_fine = Wealth(len(WORSE_BETS)), Wealth(len(FINE_BETS))
        self._budget_worse, self._budget_fine = Wealth(len(FINE_BETS)), Wealth(len(FINE_BETS))

    @property
    def ready(self) -> bool:
        """Whether every arm that is asked has its minimum of sessions."""
        return self._scale is not None

    def enter(
        self, canary: Units, stable: Units, shared: tuple[Units, Units], *, ratio_at: RatioAt = lambda _: 1
    ) -> Path:
        """Sessions that closed since the last call, of one arm or of both; the path of `worse` since then.

        `shared` are sessions that both arms heard, (of the canary, of stable) row by row. `ratio_at` says how many
        stable sessions there were for each of the canary until then; it is asked once, when the minimum is reached.
        """
        for arm, units in (("canary", canary), ("canary", shared[0]), ("stable", stable), ("stable", shared[1])):
            self.totals[arm].add(units)
            if len(units.closed_s):
                self.opened_s = min(self.opened_s, float(units.closed_s[0]))
        self._canary, self._stable = joined([self._canary, canary]), joined([self._stable, stable])
        self._shared = (joined([self._shared[0], shared[0]]), joined([self._shared[1], shared[1]]))
        self._alone = joined([self._alone, canary, shared[0]])
        if self._scale is None:
            self._begin(ratio_at)
        if self._scale is None:
            return Path(self.worse, np.empty(0), np.empty(0))
        worse, fine = self._pass(self._scale)
        self.worse, self.fine = float(worse.at(np.array([np.inf]))[0]), float(fine.at(np.array([np.inf]))[0])
        if self.fine_s is None and (found := fine.log_e >= self._log_fine_at).any():
            self.fine_s = float(fine.at_s[found.argmax()])
        return worse

    def _begin(self, ratio_at: RatioAt) -> None:
        """Fix the scale when the minimum is there: by sizes, and by how far pairs lie apart whichever way."""
        first = [joined([self._canary, self._shared[0]])]
        if self.rule.against_stable:
            first.append(joined([self._stable, self._shared[1]]))
        if self.rule.budget is None and not self.rule.against_stable:
            return
        if any(len(units.n) < self._needed for units in first):
            return
        first = [units.part(0, self._needed) for units in first]
        self._ready_s = max(float(units.closed_s[-1]) for units in first)
        n, d = np.concatenate([units.n for units in first]), np.concatenate([units.d for units in first])
        counts = bool((n == np.round(n)).all() and (d == np.round(d)).all())
        largest = max(RARE_RATE * n.sum() / d.sum(), 1.0 if counts else 0.0, self.rule.budget or 0.0)
        scale = _Scale(min(float(np.median(d)), self.rule.size_cap), float(largest) or 1.0, 1.0)
        if self.rule.against_stable:
            g, _ = self._difference(first[0], first[1], scale)
            scale = scale._replace(spread=max(float(np.sqrt(np.mean(g**2))), LEAST_SPREAD))
        self._scale = scale
        self._stable_a_canary = max(ratio_at(self._ready_s), 1)

    def _pass(self, scale: _Scale) -> tuple[Path, Path]:
        """What came since the last call goes into the bets; paths of (worse, fine)."""
        pairs = budget = None
        if self.rule.against_stable:
            pairs = self._bet_on_pairs(scale)
        if self.rule.budget is not None:
            budget = self._bet_on_budget(self.rule.budget, scale)
        if pairs is None or budget is None:
            found = pairs or budget
            assert found is not None
            return found
        return lowest(pairs[0], budget[0]), budget[1]

    def _bet_on_pairs(self, scale: _Scale) -> tuple[Path, Path]:
        times, g, v = self._take_pairs(scale)
        bets = WORSE_BETS[:, None] / scale.spread
        # log(1 + tanh x) without overflow
        worse = math.log(2) - np.logaddexp(0.0, -2 * bets * g) - bets * v
        fine = np.log1p(FINE_BETS[:, None] * (v - g))
        return self._pairs_worse.bet(times, worse), self._pairs_fine.bet(times, fine)

    def _bet_on_budget(self, budget: float, scale: _Scale) -> tuple[Path, Path]:
        units, self._alone = self._clipped(self._alone, scale), no_units()
        over = (units.n - budget * units.d) / scale.size * (-1 if self.rule.higher else 1)
        most = scale.rate - budget if self.rule.higher else budget
        times = np.maximum(units.closed_s, self._ready_s)
        worse = np.log1p(FINE_BETS[:, None] * over / max(most, 1e-12))
        fine = np.log1p(FINE_BETS[:, None] * -over / scale.rate)
        return self._budget_worse.bet(times, worse), self._budget_fine.bet(times, fine)

    def _take_pairs(self, scale: _Scale) -> tuple[Floats, Floats, Floats]:
        """Pairs that are complete now: when, their differences, and what these may be; in time order."""
        every = self._stable_a_canary
        pairs = min(len(self._canary.n), len(self._stable.n) // every)
        canary, stable = self._canary.part(0, pairs), self._stable.part(0, pairs * every)
        self._canary, self._stable = self._canary.part(pairs, None), self._stable.part(pairs * every, None)
        g, v = self._difference(Units(*(np.repeat(column, every) for column in canary)), stable, scale)
        g, v = g.reshape(pairs, every).mean(axis=1), v.reshape(pairs, every).mean(axis=1)
        times = np.maximum(canary.closed_s, stable.closed_s[every - 1 :: every])
        shared, self._shared = self._shared, (no_units(), no_units())
        own_g, own_v = self._difference(*shared, scale)
        times = np.maximum(np.concatenate([times, shared[0].closed_s]), self._ready_s)
        order = np.argsort(times, kind="stable")
        return times[order], np.concatenate([g, own_g])[order], np.concatenate([v, own_v])[order]

    def _difference(self, canary: Units, stable: Units, scale: _Scale) -> tuple[Floats, Floats]:
        """Harm of each pair and what it may be, as shares of the largest possible difference."""
        canary, stable = self._clipped(canary, scale), self._clipped(stable, scale)
        largest = scale.rate * scale.size * (canary.d + stable.d) / 2
        g = (canary.n * stable.d - stable.n * canary.d) / largest * (-1 if self.rule.higher else 1)
        allowed = stable.n * canary.d if self.rule.relative else canary.d * stable.d
        return g, self.rule.margin * allowed / largest

    def _clipped(self, units: Units, scale: _Scale) -> Units:
        """Sessions larger than the scale's count as that large, at their own rate."""
        n = np.minimum(units.n, self.rule.total_cap)
        share = np.minimum(1.0, scale.size / units.d)
        return Units(units.closed_s, np.minimum(n * share, scale.rate * units.d * share), units.d * share)
