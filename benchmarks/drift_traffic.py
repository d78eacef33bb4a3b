"""Traffic for the certificate of drift detection: sessions with a season, bad days, and shifts that are planted.

Every session has a day, an hour, a device, a language, a tenant and some utterances. By hour of the week change how
many there are, who they are and how they sound (weekends are longer and noisier, evenings more mobile); each day has an
effect of its own on every signal and on the mix, correlated with the day before; utterances of a session are alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from monitoring.drift.windows import Sessions, Values

DAY_S = 86_400.0
SESSIONS_A_DAY = 1_000
CARRY = 0.3
"""Correlation of the effects of a day and the next."""
DEVICES = ("phone", "desktop", "headset", "car")
LANGUAGES = ("en", "cy", "gd")
TENANTS = ("acme", "internal", "northern")
SPREAD = {"duration": 1.2, "silence": 0.12, "level": 6.0, "snr": 8.0, "confidence": 0.12}
"""Standard deviation of an utterance's value; a third of the variance is the session's."""
CENTRE = {"duration": 3.0, "silence": 0.35, "level": -24.0, "snr": 22.0, "confidence": 0.86}
RATES = {"clipping": 0.02, "corrections": 0.04, "low_confidence": 0.03}
DAY_EFFECT = 0.04
"""Standard deviation of a day's effect, in standard deviations of an utterance."""


class Shift(NamedTuple):
    """A change from day `day` on: `add` to a value or a rate, for sessions with the label; or a share of traffic that
    becomes of the label (`signal` is `mix`)."""

    signal: str
    column: str
    label: str
    add: float
    day: int


class Traffic(NamedTuple):
    """Sessions as the product sums them, and one value of each session as the peers see them."""

    sessions: Sessions
    values: Values


def draw(generator: np.random.Generator, days: int, shifts: tuple[Shift, ...] = ()) -> Traffic:
    """Traffic of whole days from time 0."""
    day = np.repeat(np.arange(days), generator.poisson(_volume(days)))
    n = len(day)
    hour = generator.choice(24, n, p=_hours())
    weekend, evening = (day % 7 >= 5).astype(float), ((hour >= 18) | (hour < 6)).astype(float)
    labels = _labels(generator, day, weekend, evening, days)
    for shift in shifts:
        if shift.signal == "mix":
            turned = (day >= shift.day) & (generator.random(n) < shift.add)
            labels[shift.column][turned] = shift.label
    utterances = 1 + generator.poisson(2.0, n)
    sums: dict[str, tuple[Any, Any]] = {"requests": (utterances.astype(float), utterances.astype(float))}
    single: dict[str, Any] = {}
    for name, spread in SPREAD.items():
        mean = CENTRE[name] + spread * (0.3 * weekend + 0.2 * evening - 0.3 * (labels["device"] == "car"))
        mean = mean + spread * _day_effects(generator, days)[day] + _shifted(shifts, name, day, labels)
        own = mean + spread * np.sqrt(1 / 3) * generator.standard_normal(n)
        rest = spread * np.sqrt(2 / 3)
        sums[name] = (
            own * utterances + rest * np.sqrt(utterances) * generator.standard_normal(n),
            utterances.astype(float),
        )
        single[name] = own + rest * generator.standard_normal(n)
    for name, rate in RATES.items():
        chance = rate * (1 + 0.3 * weekend) * np.exp(3 * _day_effects(generator, days)[day])
        chance = np.clip(chance + _shifted(shifts, name, day, labels), 0, 1)
        # A session that corrects once corrects more: a beta mixture with the mean kept.
        chance = generator.beta(np.maximum(chance * 8, 1e-6), np.maximum((1 - chance) * 8, 1e-6))
        sums[name] = (generator.binomial(utterances, chance).astype(float), utterances.astype(float))
    start = (day * DAY_S).astype(np.float64)
    return Traffic(Sessions(start, labels, sums), Values(start, labels, single))


def _volume(days: int) -> npt.NDArray[np.float64]:
    return SESSIONS_A_DAY * np.where(np.arange(days) % 7 >= 5, 0.6, 1.0)


def _hours() -> npt.NDArray[np.float64]:
    shape = 1.2 + np.sin((np.arange(24) - 8) / 24 * 2 * np.pi)
    share: npt.NDArray[np.float64] = shape / shape.sum()
    return share


def _day_effects(generator: np.random.Generator, days: int) -> npt.NDArray[np.float64]:
    fresh = generator.standard_normal(days)
    effects = np.empty(days)
    effects[0] = fresh[0]
    for day in range(1, days):
        effects[day] = CARRY * effects[day - 1] + np.sqrt(1 - CARRY**2) * fresh[day]
    return DAY_EFFECT * effects


def _labels(
    generator: np.random.Generator, day: Any, weekend: Any, evening: Any, days: int
) -> dict[str, npt.NDArray[np.object_]]:
    found = {}
    for column, names, first in (("device", DEVICES, 0.5), ("language", LANGUAGES, 0.85), ("tenant", TENANTS, 0.6)):
        head = first + 0.08 * weekend + 0.05 * evening + 0.1 * _day_effects(generator, days)[day]
        pick = generator.random(len(day))
        tail = 1 + (pick - head) / (1 - head) * (len(names) - 1)
        found[column] = np.array(names, dtype=object)[
            np.where(pick < head, 0, np.minimum(tail, len(names) - 1)).astype(int)
        ]
    return found


def _shifted(shifts: tuple[Shift, ...], name: str, day: Any, labels: dict[str, Any]) -> Any:
    added = np.zeros(len(day))
    for shift in shifts:
        if shift.signal == name:
            added += shift.add * ((day >= shift.day) & (labels[shift.column] == shift.label))
    return added
