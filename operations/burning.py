"""Which error budgets burn too fast, as the living gateways say.

Boundary: asks each gateway of this home for `GET /v1/live`; the rates and their thresholds are serving/windows.py's.
Source: Google's Site Reliability Workbook, chapter 5 (a short and a long window must both burn).
Invariants: a gateway that cannot be asked is missing evidence, never a budget that is fine.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import httpx

from contracts.errors import DependencyFailed, SoundcheckError
from contracts.live import LiveReport
from serving.presence import gateways

ANSWER_S = 10.0
"""Seconds that a gateway may take to say how it is."""


class Burning(NamedTuple):
    """A budget for which somebody is due: `rate` is the smaller one of the two windows (`short_s`, `long_s`, seconds),
    on the worst gateway and slice; `slices` are those that burn, of all gateways together, all traffic counted as one.
    """

    family: str
    objective: str
    action: Literal["ticket", "page"]
    rate: float
    due_from: float
    short_s: float
    long_s: float
    slices: int


def burning(home: Path) -> list[Burning]:
    """The budgets that burn too fast, pages first.

    Raises DependencyFailed where no gateway lives, or one that lives does not answer.
    """
    alive = sorted(str(gateway["url"]) for gateway in gateways(home).values())
    if not alive:
        raise DependencyFailed(
            "no gateway lives: nobody knows how fast the error budgets burn",
            where=str(home.name),
            expected="at least one gateway of this home",
            next_step="soundcheck up",
        )
    return worst(_ask(url) for url in alive)


def worst(reports: Iterable[LiveReport]) -> list[Burning]:
    """One entry a family, objective and action over all gateways, pages first."""
    found: dict[tuple[str, str, str], Burning] = {}
    slices: dict[tuple[str, str, str], set[str]] = {}
    for report in reports:
        due_from = {alarm.action: alarm.rate for alarm in report.alarms}
        for family in report.families:
            for burn in family.burns:
                if burn.action == "none":
                    continue
                key = (family.family, burn.objective, burn.action)
                slices.setdefault(key, set()).add(burn.slice)
                if key not in found or burn.rate > found[key].rate:
                    found[key] = Burning(
                        family.family, burn.objective, burn.action, burn.rate, due_from[burn.action],
                        burn.short_s, burn.long_s, 0,
                    )  # fmt: skip
    counted = [one._replace(slices=len(slices[key])) for key, one in found.items()]
    return sorted(counted, key=lambda one: (one.action != "page", one.family, one.objective))


def _ask(url: str) -> LiveReport:
    try:
        answer = httpx.get(f"{url}/v1/live", timeout=ANSWER_S, trust_env=False)
        answer.raise_for_status()
        return LiveReport.parse(answer.content)
    except (httpx.HTTPError, SoundcheckError) as error:
        raise DependencyFailed(
            "a gateway does not say how fast its error budgets burn",
            where=url,
            got=type(error).__name__,
            expected=f"its live report within {ANSWER_S:g} s",
            next_step="soundcheck up, or look at its log",
        ) from None
