"""Which error budgets burn too fast, over all gateways together.

Boundary: asks each gateway of this home for `GET /v1/live` and keeps the counts of its last answer below
HOME/run/burning; rates and thresholds are serving/objectives.py's.
Source: Google's Site Reliability Workbook, chapter 5 (a short and a long window must both burn; a rate is bad requests
over all requests, of the whole service).
Invariants: counts are added before a rate is taken, so that a gateway weighs as much as its traffic; what a gateway
that is away had counted stands until it is older than the window; a living gateway of which nothing recent is known is
missing evidence, never a budget that is fine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import httpx

from contracts.errors import DependencyFailed, SoundcheckError
from contracts.live import Burn, LiveFamily, LiveReport
from serving.objectives import ALARMS, SPANS_S, burn
from serving.presence import gateways

ANSWER_S = 10.0
"""Seconds that a gateway may take to say how it is."""
LAST = "run/burning"
"""Folder below the home folder with the last counts of each gateway's process (PID.json, a LiveReport)."""

_DUE_FROM = {alarm.action: alarm.rate for alarm in ALARMS}


class Burning(NamedTuple):
    """A budget for which somebody is due: `rate` is the smaller one of the two windows (`short_s`, `long_s`, seconds),
    of all gateways' requests on the worst slice; `slices` are those that burn, all traffic counted as one.
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

    Raises DependencyFailed where no gateway lives, or one that lives has not answered for SPANS_S[0] seconds.
    """
    alive = {pid: str(gateway["url"]) for pid, gateway in gateways(home).items()}
    if not alive:
        raise DependencyFailed(
            "no gateway lives: nobody knows how fast the error budgets burn",
            where=str(home.name),
            expected="at least one gateway of this home",
            next_step="soundcheck up",
        )
    last = _Last(home / LAST)
    for pid, url in sorted(alive.items()):
        try:
            last.keep(pid, _ask(url))
        except DependencyFailed:
            if not last.is_recent(pid, time.time()):
                raise
    return together(last.reports(time.time()), time.time())


def together(reports: Iterable[LiveReport], now_s: float) -> list[Burning]:
    """One entry a family, objective and action over all gateways, pages first.

    Args:
        reports: one a gateway; the counts of a window that is not older than its span count.
        now_s: the time, seconds since the epoch.
    """
    families: dict[str, list[tuple[LiveFamily, float]]] = {}
    for report in sorted(reports, key=lambda one: one.at_s):
        for family in report.families:
            families.setdefault(family.family, []).append((family, now_s - report.at_s))
    found = [
        _worst(name, [one for one in burns if (one.objective, one.action) == kind])
        for name, said in families.items()
        for burns in [_burns(said)]
        for kind in dict.fromkeys((one.objective, one.action) for one in burns if one.action != "none")
    ]
    return sorted(found, key=lambda one: (one.action != "page", one.family, one.objective))


def _burns(said: Iterable[tuple[LiveFamily, float]]) -> list[Burn]:
    """How fast each budget of a family burns; `said` by each gateway, and how many seconds ago, the newest last."""
    allowed: dict[str, float] = {}
    sums: dict[tuple[str, str], dict[int, tuple[int, int]]] = {}
    for family, age_s in said:
        allowed |= {promise.objective: round(1 - promise.share, 12) for promise in family.promises}
        for counts in family.counts:
            windows = sums.setdefault((counts.objective, counts.slice), {})
            for window in counts.windows:
                if age_s <= window.span_s:
                    asked, bad = windows.get(int(window.span_s), (0, 0))
                    windows[int(window.span_s)] = (asked + window.asked, bad + window.bad)
    return [
        burn(objective, name, windows, allowed[objective])
        for (objective, name), windows in sums.items()
        if objective in allowed
    ]


def _worst(family: str, burns: list[Burn]) -> Burning:
    worst = max(burns, key=lambda one: one.rate)
    assert worst.action != "none"
    due_from = _DUE_FROM[worst.action]
    return Burning(
        family, worst.objective, worst.action, worst.rate, due_from, worst.short_s, worst.long_s, len(burns)
    )  # fmt: skip


class _Last:
    """What each gateway said last, whether it lives or not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, pid: int, report: LiveReport) -> None:
        """Remember what counts of a gateway's answer."""
        self._folder.mkdir(parents=True, exist_ok=True)
        counts = tuple(
            LiveFamily(family=one.family, table=None, promises=one.promises, counts=one.counts)
            for one in report.families
        )
        temporary = self._folder / f".{pid}.{os.getpid()}.tmp"
        temporary.write_bytes(LiveReport(at_s=report.at_s, url=report.url, families=counts).canonical())
        temporary.rename(self._folder / f"{pid}.json")

    def is_recent(self, pid: int, now_s: float) -> bool:
        """Whether the last answer still says something of every window."""
        report = self._read(self._folder / f"{pid}.json")
        return report is not None and now_s - report.at_s <= SPANS_S[0]

    def reports(self, now_s: float) -> list[LiveReport]:
        """All of them; those that are older than every window are forgotten."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            report = self._read(path)
            if report is None or now_s - report.at_s > SPANS_S[-1]:
                path.unlink(missing_ok=True)
            else:
                found.append(report)
        return found

    @staticmethod
    def _read(path: Path) -> LiveReport | None:
        try:
            return LiveReport.parse(path.read_bytes(), where=path.name)
        except (FileNotFoundError, SoundcheckError):
            return None


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
