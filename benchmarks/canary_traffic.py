"""Simulated canaries: sessions of two arms on 20 slices, clustered and autocorrelated, with a planted harm.

Boundary: draws numbers from a seeded generator; knows no judge.
Invariants: without a harm the arms have one law at every moment; a harm is planted on the first slice alone, as so many
times its metric's margin beyond what stable has.
Model: an hour, `SESSIONS` an arm and slice at random times; 1 to 7 utterances of 5 to 13 words a session. A session has
its own difficulty (word errors Beta(2, 18), words taken back Beta(1, 19)), speed and price, so that its utterances are
alike; each slice has weather (log-normal, AR(1) over minutes, neighbours correlate at 0.8) that both arms share. With
`sticky`, a session is with this chance one more of the user before it in the same arm, with the same difficulty.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.policy import CanaryMetric

Floats = npt.NDArray[np.float64]

SLICES = 20
SESSIONS = 1_000
MINUTES = 60
LONGEST = 7
"""Utterances of a session at most; the mean is 4."""
WEATHER_SD, WEATHER_CORRELATION = 0.2, 0.8
SESSION_SPEED_SD, REQUEST_SPEED_SD = 0.30, 0.35
TYPICAL_MS = 300.0
SLOW = 0.02
"""Share of requests over the latency budget where nothing is wrong; the budget allows 0.05."""
SPEED_SD = float(np.hypot(SESSION_SPEED_SD, REQUEST_SPEED_SD))
BUDGET_MS = TYPICAL_MS * float(np.exp(NormalDist().inv_cdf(1 - SLOW) * SPEED_SD))

METRICS = {
    "wer": CanaryMetric(kind="ratio", numerator="errors", denominator="words", margin=0.01),
    "latency_ms": CanaryMetric(kind="quantile", quantile=0.95, budget=BUDGET_MS, margin=0.02),
    "churn": CanaryMetric(kind="ratio", numerator="unstable_words", denominator="partial_words", margin=0.01),
    "cost": CanaryMetric(kind="ratio", numerator="cost_usd", denominator="audio_s", margin=0.05, relative=True),
}


class Harm(NamedTuple):
    """So many times its margin is what this metric is worse by, on the first slice."""

    metric: str
    times: float


class Canary(NamedTuple):
    """Sessions in the order of closing, (slices, arms, sessions); arm 0 is stable, 1 the canary."""

    closed_s: Floats
    n: dict[str, Floats]
    d: dict[str, Floats]
    latency_ms: Floats
    """Of each request, NaN where the session has no more, (slices, arms, sessions, requests)."""


def draw(generator: np.random.Generator, harm: Harm | None = None, *, sticky: float = 0.0) -> Canary:
    """One canary of an hour."""
    shape = (SLICES, 2, SESSIONS)
    closed_s = np.sort(generator.uniform(0, 60 * MINUTES, shape), axis=2)
    minute = (closed_s / 60).astype(int).clip(0, MINUTES - 1)
    weather = np.take_along_axis(_weather(generator)[:, None, :], minute.reshape(SLICES, 1, -1), axis=2).reshape(shape)
    user = _users(generator, shape, sticky)

    def personal(drawn: Floats) -> Floats:
        return np.take_along_axis(drawn, user, axis=2)

    requests = generator.integers(1, LONGEST + 1, shape)
    spoken = np.arange(LONGEST) < requests[..., None]
    words = (generator.integers(5, 14, (*shape, LONGEST)) * spoken).sum(axis=3)
    worse = {name: np.zeros(shape) for name in METRICS}
    if harm is not None:
        worse[harm.metric][0, 1] = harm.times * METRICS[harm.metric].margin
    errors = generator.binomial(words, np.clip(personal(generator.beta(2, 18, shape)) * weather + worse["wer"], 0, 1))
    partial = words + 3 * requests
    taken_back = np.clip(personal(generator.beta(1, 19, shape)) * weather + worse["churn"], 0, 1)
    unstable = generator.binomial(partial, taken_back)
    latency = _latencies(generator, personal(generator.normal(size=shape)), worse["latency_ms"])
    audio_s = words * 0.4
    price = np.exp(0.25 * personal(generator.normal(size=shape))) * np.sqrt(weather) * (1 + worse["cost"])
    over = ((latency > BUDGET_MS) & spoken).sum(axis=3)
    n = {"wer": errors, "latency_ms": over, "churn": unstable, "cost": 2e-5 * audio_s * price}
    d = {"wer": words, "latency_ms": requests, "churn": partial, "cost": audio_s}
    return Canary(
        closed_s,
        {name: value.astype(np.float64) for name, value in n.items()},
        {name: value.astype(np.float64) for name, value in d.items()},
        np.where(spoken, latency, np.nan),
    )


def _weather(generator: np.random.Generator) -> Floats:
    """Log-normal of mean 1 with AR(1) logarithms, (slices, minutes)."""
    steps = generator.normal(size=(SLICES, MINUTES))
    logs = np.empty_like(steps)
    logs[:, 0] = steps[:, 0]
    fresh = np.sqrt(1 - WEATHER_CORRELATION**2)
    for minute in range(1, MINUTES):
        logs[:, minute] = WEATHER_CORRELATION * logs[:, minute - 1] + fresh * steps[:, minute]
    return np.exp(WEATHER_SD * logs - WEATHER_SD**2 / 2)


def _users(generator: np.random.Generator, shape: tuple[int, ...], sticky: float) -> npt.NDArray[np.int64]:
    """Of each session, the first one of the same user."""
    if not sticky:
        return np.broadcast_to(np.arange(shape[2]), shape)
    first = np.where(generator.random(shape) < sticky, 0, np.arange(shape[2]))
    return np.maximum.accumulate(first, axis=2)


def _latencies(generator: np.random.Generator, session: Floats, more_slow: Floats) -> Floats:
    """Milliseconds; where `more_slow` is, so many more requests are over the budget."""
    normal = NormalDist()
    shift = np.zeros_like(more_slow)
    for share in np.unique(more_slow[more_slow > 0]):
        shift[more_slow == share] = (normal.inv_cdf(1 - SLOW) - normal.inv_cdf(1 - SLOW - share)) * SPEED_SD
    request = generator.normal(size=(*session.shape, LONGEST))
    return TYPICAL_MS * np.exp((SESSION_SPEED_SD * session + shift)[..., None] + REQUEST_SPEED_SD * request)
