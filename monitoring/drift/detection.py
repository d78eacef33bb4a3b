"""Which signal moved on which slice, with a stated number of false alarms a year over all of them.

Purpose: for each stream (signal x slice) and each window t, the evidence that its mean changed at some earlier window,

    M(t) = sum over windows j <= t after the reference of B_j(t),

where B_j(t) is the Bayes factor of "changed at j" against "never changed". The model is linear: one mean for each
window of the week (a Tuesday is compared with Tuesdays), normal noise of unknown size, and under the alternative a step
at j. Integrated over right-Haar priors of means and noise B_j is the ratio of two densities of what is left of the data
when means and scale are taken out, so it is a martingale that starts at 1: an error in the reference costs evidence,
it is not mistaken for drift. So M(t) - t is a martingale and M an e-detector of the Shiryaev-Roberts kind:
P(M reaches A within T windows) <= T / A. With A = streams x windows a year / f, the expected number of streams with a
false alarm in a year is at most f, whatever depends on whatever between streams.

Boundary: pure; a table of sums (windows.py) in, findings out.
Invariants: an alarm needs M >= A and a change of at least the signal's margin; windows without support are left out;
a stream that is quieter than a fifth of its margin is treated as if it had that noise. Normality and independence of
windows are what real traffic bends: benchmarks/drift.py measures what is left of the guarantee.
Source: Shin, Ramdas and Rinaldo 2023, "E-detectors"; Lindon, Ham, Tingley and Bojinov 2022, "Anytime-valid linear
models"; Perez-Ortiz et al. 2024 (group-invariant e-statistics); statistics U1, U2, U6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from contracts.drift import Distribution, DriftSettings, Moved, Point, Watch
from monitoring.drift.signals import HISTOGRAMS, MIXED, SIGNALS, Signal, mix
from monitoring.drift.windows import NO_BIN

HOUR_S = 3600.0
YEAR_H = 8766.0
WEEK_H = 168
SEEN = 0.75
"""Share of the reference's windows that a stream must have."""
SCALES = (1.0, 4.0, 16.0)
"""Sizes of a step that are expected, in standard deviations of a window; the evidence is their mean."""
QUIET = 0.2
"""Noise that every stream has at least, as a share of its margin."""
HORIZON_WEEKS = 8
"""How far back a change is looked for."""
SMALLEST_MIX = 0.005
"""A label that never had this share of a window's traffic is not watched."""

Floats = npt.NDArray[np.float64]


class Streams(NamedTuple):
    """Streams as matrices (streams, windows): `values`, `sessions` (0: no support), and `noise`, the variance that one
    session adds; `names` are (signal, slice); `start_s` is where the first window begins."""

    names: tuple[tuple[Signal, str], ...]
    values: Floats
    sessions: Floats
    noise: Floats
    start_s: float


class Evidence(NamedTuple):
    """By stream and window: `evidence` M(t), `began` the likeliest window of a change, and that change's size."""

    evidence: Floats
    began: npt.NDArray[np.int64]
    change: Floats
    error: Floats
    """Standard error of `change`."""


class Found(NamedTuple):
    """What a look found."""

    moved: tuple[Moved, ...]
    watch: Watch


def detect(table: pd.DataFrame, settings: DriftSettings, *, from_s: float, promoted_s: float, until_s: float) -> Found:
    """Look at all streams of a family.

    Args:
        table: sums of windows (windows.merged).
        from_s: start of the reference of input signals; promoted_s: of output signals, seconds since the epoch.
        until_s: windows that end later are left out.
    """
    window_s = settings.window_h * HOUR_S
    of_kind = {"input": first_window(from_s, window_s), "output": first_window(promoted_s, window_s)}
    looked = {kind: streams_of(table, settings, kind, start, until_s) for kind, start in of_kind.items()}
    number = sum(len(streams.names) for streams in looked.values())
    alarm_at = threshold(number, settings)
    moved = [one for streams in looked.values() for one in _moved(table, streams, settings, alarm_at)]
    lasts_s = settings.reference_weeks * WEEK_H * HOUR_S
    watched = [streams for streams in looked.values() if streams.names]
    return Found(
        tuple(sorted(moved, key=lambda one: (one.since_s, -one.evidence))),
        Watch(
            window_h=settings.window_h,
            reference_from_s=of_kind["input"],
            reference_until_s=of_kind["input"] + lasts_s,
            until_s=until_s,
            windows=max((streams.values.shape[1] - reference_windows(settings) for streams in watched), default=0),
            streams=number,
            waiting=tuple(_waiting(kind, start, until_s, settings) for kind, start in of_kind.items()
                          if start + lasts_s + window_s > until_s),
            alarm_at=alarm_at,
            false_alarms_per_year=settings.false_alarms_per_year,
        ),
    )  # fmt: skip


def first_window(from_s: float, window_s: float) -> float:
    """The first window that begins at or after a time; windows begin at midnight UTC and each `window_s` after."""
    return float(np.ceil(from_s / window_s) * window_s)


def reference_windows(settings: DriftSettings) -> int:
    """How many windows the reference has."""
    return settings.reference_weeks * WEEK_H // settings.window_h


def threshold(streams: int, settings: DriftSettings) -> float:
    """The evidence at which one of so many streams alarms."""
    return streams * YEAR_H / settings.window_h / settings.false_alarms_per_year


def _waiting(kind: str, start_s: float, until_s: float, settings: DriftSettings) -> str:
    have = max(int((until_s - start_s) // (settings.window_h * HOUR_S)), 0)
    what = "who asks and how it sounds" if kind == "input" else "what stable makes of it"
    return f"{what}: {min(have, reference_windows(settings))} of {reference_windows(settings)} reference windows so far"


# ---- streams ----------------------------------------------------------------------------------------------------
def streams_of(table: pd.DataFrame, settings: DriftSettings, kind: str, start_s: float, until_s: float) -> Streams:
    """The streams of one kind of signal (`input`, `output`) in the whole windows of [start_s, until_s)."""
    window_s = settings.window_h * HOUR_S
    count = max(int((until_s - start_s) // window_s), 0)
    within = (
        (table["bin"] == NO_BIN) & (table["window_s"] >= start_s) & (table["window_s"] < start_s + count * window_s)
    )
    sums = table[within]
    known = {signal.name: signal for signal in SIGNALS if signal.kind == kind}
    if kind == "input":
        known |= {signal.name: signal for signal in _mixes(sums)}
    sums = sums[sums["name"].isin(known.keys())]
    if sums.empty or count <= reference_windows(settings):
        nothing = np.zeros((0, count))
        return Streams((), nothing, nothing, nothing, start_s)
    at = ((sums["window_s"] - start_s) // window_s).astype(int).to_numpy()
    keys = pd.MultiIndex.from_frame(sums[["name", "slice"]])
    code, names = pd.factorize(keys)
    filled = {}
    for column in ("n", "x", "w", "xx", "xw", "ww"):
        filled[column] = np.zeros((len(names), count))
        filled[column][code, at] = sums[column].to_numpy(dtype=float)
    pairs = [(known[name], piece) for name, piece in names]
    return _supported(pairs, filled, settings, start_s)


def _mixes(sums: pd.DataFrame) -> list[Signal]:
    """The label shares that are watched: those that were ever more than a trace."""
    own = sums[sums["name"].str.startswith("mix:") & (sums["x"] > SMALLEST_MIX * sums["w"])]
    pairs = [name.removeprefix("mix:").split("=", 1) for name in own["name"].unique()]
    return [mix(column, value) for column, value in sorted(pairs) if column in MIXED]


def _supported(
    pairs: Sequence[tuple[Signal, str]], sums: Mapping[str, Floats], settings: DriftSettings, start_s: float
) -> Streams:
    """Ratios with the variance that one session adds, of the streams that the reference has enough of."""
    n = np.where(sums["n"] >= settings.min_sessions, sums["n"], 0.0)
    mixed = np.array([signal.name.startswith("mix:") for signal, _ in pairs])
    if mixed.any():  # a label that nobody had in a window has the share 0 there, of all sessions of the window
        n[mixed] = np.where(n[mixed] > 0, n[mixed], n[mixed].max(axis=0))
    w = np.where(sums["w"] > 0, sums["w"], 1.0)
    values = sums["x"] / w
    spread = sums["xx"] - 2 * values * sums["xw"] + values**2 * sums["ww"]
    noise = np.maximum(spread, 0.0) / w**2 * n
    first = reference_windows(settings)
    keep = (n[:, :first] > 0).mean(axis=1) >= SEEN
    names = tuple(pair for pair, kept in zip(pairs, keep, strict=True) if kept)
    return Streams(names, values[keep], n[keep], noise[keep], start_s)


def evidence(streams: Streams, settings: DriftSettings) -> Evidence:
    """M(t) of every stream at every window; 0 within the reference."""
    groups, first = WEEK_H // settings.window_h, reference_windows(settings)
    weights, floor = _weights(streams, groups, first)
    values = streams.values - _levels(streams)[:, None]  # near 0, so that differences of squares keep their digits
    shape = streams.values.shape
    found = Evidence(np.zeros(shape), np.zeros(shape, dtype=np.int64), np.zeros(shape), np.full(shape, np.inf))
    own = np.eye(groups)[np.arange(shape[1]) % groups]  # (windows, groups)
    sums_w, sums_y = (_before(weights[..., None] * part[..., None] * own) for part in (np.ones(shape), values))
    squares = np.cumsum(weights * values**2, axis=1)
    scale = _typical(weights[:, :first])
    for t in range(first, shape[1]):
        earliest = max(first, t + 1 - HORIZON_WEEKS * groups)
        w, y = sums_w[:, t + 1], sums_y[:, t + 1]
        safe = np.where(w > 0, w, 1.0)
        since_w, since_y = (
            whole[:, None] - before[:, earliest : t + 1] for whole, before in ((w, sums_w), (y, sums_y))
        )
        size = (since_w * (w[:, None] - since_w) / safe[:, None]).sum(axis=2)
        pull = (since_y - since_w * (y / safe)[:, None]).sum(axis=2)
        left = squares[:, t] - (y**2 / safe).sum(axis=1)
        freedom = np.maximum((weights[:, : t + 1] > 0).sum(axis=1) - (w > 0).sum(axis=1), 1)
        left = np.maximum(left, 0.0) + freedom * floor
        factors = _bayes_factors(size, pull, left, freedom, scale)
        at = factors.argmax(axis=1)
        rows = np.arange(shape[0])
        found.evidence[:, t] = factors.sum(axis=1)
        found.began[:, t] = earliest + at
        best = np.maximum(size[rows, at], 1e-12)
        found.change[:, t] = pull[rows, at] / best
        unexplained = np.maximum(left - pull[rows, at] ** 2 / best, 1e-12)
        found.error[:, t] = np.sqrt(unexplained / np.maximum(freedom - 1, 1) / best)
    return found


def _before(terms: Floats) -> Floats:
    """Sums over the windows before each window: (streams, windows + 1, groups)."""
    return np.concatenate([np.zeros_like(terms[:, :1]), np.cumsum(terms, axis=1)], axis=1)


def _typical(weights: Floats) -> Floats:
    """The variance of a typical window, shape (streams,)."""
    present = weights > 0
    return np.asarray(present.sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-300), dtype=np.float64)


def _weights(streams: Streams, groups: int, first: int) -> tuple[Floats, Floats]:
    """One over the variance of each window, and the share of it that is the floor of quiet streams.

    The variance is what sessions add and what days add (by moments, from the reference): a day of many sessions is
    worth more, but not without end.
    """
    values, n = streams.values[:, :first], streams.sessions[:, :first]
    there = n > 0
    noise = np.where(there, streams.noise[:, :first], np.nan)
    session = np.nanmedian(noise, axis=1)
    weeks = values.reshape(len(values), -1, groups)
    present = there.reshape(weeks.shape)
    mean = (weeks * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    rest = np.where(present, weeks - mean[:, None], 0.0)
    freedom = np.maximum(there.sum(axis=1) - present.any(axis=1).sum(axis=1), 1)
    total = (rest**2).sum(axis=(1, 2)) / freedom
    sampled = session * (np.where(there, 1 / np.where(there, n, 1.0), 0.0)).sum(axis=1) / there.sum(axis=1)
    day = np.maximum(total - sampled, 0.0)
    level = (values * there).sum(axis=1) / there.sum(axis=1)
    floor = np.array(
        [(QUIET * signal.scaled_margin(v)) ** 2 for (signal, _), v in zip(streams.names, level, strict=True)]
    )
    floor = np.maximum(floor, 1e-12)
    variance = session[:, None] / np.where(streams.sessions > 0, streams.sessions, 1.0) + (day + floor)[:, None]
    weights = np.where(streams.sessions > 0, 1 / variance, 0.0)
    return weights, floor / _typical(weights[:, :first])


def _bayes_factors(size: Floats, pull: Floats, left: Floats, freedom: npt.NDArray[np.int64], scale: Floats) -> Floats:
    """The mean over SCALES of the Bayes factors of a step at each window, shape (streams, windows)."""
    explained = np.where(size > 1e-9, pull**2 / np.maximum(size, 1e-9), 0.0) / left[:, None]
    total = np.zeros_like(size)
    for expected in SCALES:
        grown = expected**2 * scale[:, None] * size
        rest = 1 - np.minimum(explained * grown / (1 + grown), 1 - 1e-15)
        total += np.exp(np.minimum(-0.5 * np.log1p(grown) - 0.5 * freedom[:, None] * np.log(rest), 700.0))
    mean: Floats = total / len(SCALES)
    return mean


# ---- findings ---------------------------------------------------------------------------------------------------
def alarms(streams: Streams, found: Evidence, alarm_at: float) -> npt.NDArray[np.bool_]:
    """Which stream alarms at which window: enough evidence of a change of at least the margin."""
    level = np.array(
        [signal.scaled_margin(before) for (signal, _), before in zip(streams.names, _levels(streams), strict=True)]
    )
    raised: npt.NDArray[np.bool_] = (found.evidence >= alarm_at) & (np.abs(found.change) >= level.reshape(-1, 1))
    return raised


def _levels(streams: Streams) -> Floats:
    seen = streams.sessions > 0
    return np.asarray((streams.values * seen).sum(axis=1) / np.maximum(seen.sum(axis=1), 1), dtype=np.float64)


def _moved(table: pd.DataFrame, streams: Streams, settings: DriftSettings, alarm_at: float) -> list[Moved]:
    if not streams.names:
        return []
    found = evidence(streams, settings)
    raised = alarms(streams, found, alarm_at)
    return [
        _finding(table, streams, found, raised, settings, alarm_at, number)
        for number in np.flatnonzero(raised[:, -1]).tolist()
    ]


def _finding(
    table: pd.DataFrame, streams: Streams, found: Evidence, raised: npt.NDArray[np.bool_], settings: DriftSettings,
    alarm_at: float, number: int,
) -> Moved:  # fmt: skip
    from scipy.stats import t as student

    signal, piece = streams.names[number]
    window_s = settings.window_h * HOUR_S
    began, change = int(found.began[number, -1]), float(found.change[number, -1])
    n, values = streams.sessions[number], streams.values[number]
    now = float(np.average(values[began:], weights=n[began:]))
    seen = int((n > 0).sum()) - WEEK_H // settings.window_h - 1
    wide = float(student.ppf(0.975, max(seen, 1)) * found.error[number, -1])
    level = signal.scaled_margin(now - change)
    first_alarm = int(np.flatnonzero(raised[number])[0])
    return Moved(
        signal=signal.name, says=signal.says, unit=signal.unit, slice=piece,
        since_s=streams.start_s + began * window_s, alarmed_s=streams.start_s + (first_alarm + 1) * window_s,
        before=now - change, now=now, change=change, lower=change - wide, upper=change + wide, margin=level,
        evidence=float(found.evidence[number, -1]), alarm_at=alarm_at, sessions=int(n[began:].sum()),
        worse=(signal.worse == "up" and change > 0) or (signal.worse == "down" and change < 0),
        series=_series(streams, number, began, settings),
        distribution=distribution(table, signal.name, piece, streams.start_s, streams.start_s + began * window_s),
    )  # fmt: skip


def _series(streams: Streams, number: int, began: int, settings: DriftSettings) -> tuple[Point, ...]:
    """Each window beside the mean of its window of the week before the change."""
    groups, window_s = WEEK_H // settings.window_h, settings.window_h * HOUR_S
    n, values = streams.sessions[number], streams.values[number]
    points = []
    for at in np.flatnonzero(n > 0).tolist():
        like = [index for index in range(at % groups, began, groups) if n[index] > 0]
        expected = float(values[like].mean()) if like else float(values[:began].mean())
        points.append(Point(at_s=streams.start_s + at * window_s, value=float(values[at]), expected=expected))
    return tuple(points)


def distribution(table: pd.DataFrame, name: str, piece: str, from_s: float, changed_s: float) -> Distribution | None:
    """The histograms of a slice before and since a time; None where there are none."""
    own = table[
        (table["name"] == name) & (table["slice"] == piece) & (table["bin"] != NO_BIN) & (table["window_s"] >= from_s)
    ]
    histogram = HISTOGRAMS.get(name)
    if histogram is None or own.empty:
        return None
    counts = [
        np.bincount(part["bin"], part["n"], len(histogram.edges) - 1)
        for part in (own[own["window_s"] < changed_s], own[own["window_s"] >= changed_s])
    ]
    before, now = (tuple(float(share) for share in count / max(count.sum(), 1.0)) for count in counts)
    return Distribution(edges=histogram.edges, unit=histogram.unit, reference=before, now=now)
