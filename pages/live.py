"""The live page of a gateway: who serves what, is anyone hurt now, how it has gone for half an hour, what to do.

Boundary: no I/O beyond this room's own templates; a LiveReport in, HTML out. Where lines stand is plots/sparklines.py
and plots/evidence.py, what each bundle does is pages/serving_roles.py.
Invariants: every text is escaped; nothing outside the page is loaded, its one script (which fetches the page anew) is
named by its digest in the content policy; there is no button: actions are commands, because identity is a signature.
Source: pages.md (Live page); coverage row 47.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import NamedTuple

from contracts.live import Burn, BurnAlarm, CanaryProgress, LiveFamily, LiveReport, Move, Promise
from contracts.reports import Quantiles
from contracts.routing import RouteTable
from pages.environment import template
from pages.figures import duration, many, milliseconds, moment, plain
from pages.plots.evidence import Track, tracks
from pages.plots.sparklines import FIRST_AUDIO, LATENCY, OVERALL, Grid, grid
from pages.reading import Command
from pages.serving_roles import Part, Role, parts, roles, table_of

REFRESH_S = 5
"""How often an open page fetches itself anew."""
STALE_S = 120.0
"""A canary that was not judged for this long pages (SoundcheckCanaryUnwatched of the alert rules)."""
_SHOWN = 6
"""Evidence charts that are not folded."""
_RANK = {"page": 2, "ticket": 1, "none": 0}
_KINDS = {"page": "fail", "ticket": "inconclusive", "none": "pass"}
_MEASURES = {"latency": LATENCY, "first_audio": FIRST_AUDIO}
"""Which column a promise about time is drawn on."""
_DECISIONS = {"promote": "pass", "continue": "inconclusive", "hold": "inconclusive"}


class Trouble(NamedTuple):
    """Something that calls somebody now: `page` or `ticket`, and why."""

    action: str
    said: str

    @property
    def kind(self) -> str:
        """How it is drawn."""
        return _KINDS[self.action]


class Budget(NamedTuple):
    """One error budget as a row: burn rate and thresholds in percent of the bar, what is left of it."""

    objective: str
    slice: str
    promise: str
    rate: str
    bar: float
    marks: tuple[tuple[float, str], ...]
    windows: str
    left: str
    left_bar: float
    action: str

    @property
    def kind(self) -> str:
        """How it is drawn."""
        return _KINDS[self.action]


class Evidence(NamedTuple):
    """The canary's part of the page."""

    word: str
    kind: str
    facts: str
    reasons: tuple[str, ...]
    shown: tuple[Track, ...]
    folded: tuple[Track, ...]


class Section(NamedTuple):
    """One family of the page."""

    family: str
    word: str
    kind: str
    headline: str
    troubles: tuple[Trouble, ...]
    parts: tuple[Part, ...]
    measured: bool
    roles: tuple[Role, ...]
    budgets: tuple[Budget, ...]
    grid: Grid
    evidence: Evidence | None
    history: tuple[Move, ...]
    versions: dict[str, str]
    commands: tuple[Command, ...]
    idle: bool
    """Nothing was ever routed, and nothing is wrong: a line says it all."""


def render(report: LiveReport) -> str:
    """The page of one gateway as a whole HTML document."""
    sections = tuple(_section(report, family) for family in report.families)
    word, kind = _whole(report, sections)
    script = files("pages").joinpath("templates/live/refresh.js").read_text()
    return template("live/page.html.j2").render(
        sections=sections,
        busy=[one for one in sections if not one.idle],
        idle=[one for one in sections if one.idle],
        word=word,
        kind=kind,
        at=moment(datetime.fromtimestamp(report.at_s, UTC).isoformat()),
        report=report,
        rules=sorted(report.rules, key=lambda rule: (-_RANK[rule.action], rule.name)),
        alarms=sorted(report.alarms, key=lambda alarm: -_RANK[alarm.action]),
        refresh_s=REFRESH_S,
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def content_policy() -> str:
    """The page's Content-Security-Policy, for the answer's header."""
    script = files("pages").joinpath("templates/live/refresh.js").read_bytes()
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )


def _whole(report: LiveReport, sections: Sequence[Section]) -> tuple[str, str]:
    """One word for the gateway: the most urgent of its families."""
    if not sections:
        return "nothing is served", "none"
    worst = min(sections, key=lambda one: ("fail", "inconclusive", "none", "pass").index(one.kind))
    lost = report.telemetry_dropped
    return ("a ticket is due", "inconclusive") if lost and worst.kind in ("pass", "none") else (worst.word, worst.kind)


def _section(report: LiveReport, live: LiveFamily) -> Section:
    table = table_of(live)
    troubles = tuple(sorted(_troubles(report, live, table), key=lambda one: -_RANK[one.action]))
    word, kind = _word(live, table, troubles)
    shares, measured = parts(live, table)
    return Section(
        family=plain(live.family),
        word=word,
        kind=kind,
        headline=_headline(live, table),
        troubles=troubles,
        parts=shares,
        measured=measured,
        roles=roles(live, table),
        budgets=_budgets(live, report.alarms),
        grid=grid(
            live.series,
            live.now,
            at_s=report.at_s,
            budgets_ms={
                _MEASURES[one.objective]: one.latency_ms
                for one in live.promises
                if one.objective in _MEASURES and one.latency_ms is not None
            },
            moved_s=[seconds for move in live.history if (seconds := _epoch_s(move.moved_at)) is not None],
            burns=live.burns,
        ),
        evidence=_evidence(live.canary, table, report.at_s),
        history=tuple(sorted(live.history, key=lambda move: -move.version)),
        versions=dict(live.versions),
        commands=_commands(live, table),
        idle=table is None and live.preparing is None and not troubles,
    )


# ---- is anyone hurt -------------------------------------------------------------------------------------------------
def _word(live: LiveFamily, table: RouteTable | None, troubles: Sequence[Trouble]) -> tuple[str, str]:
    if troubles and troubles[0].action == "page":
        return "page somebody", "fail"
    if troubles:
        return "a ticket is due", "inconclusive"
    if table is None or table.stable is None:
        return "nothing is served yet", "none"
    return ("nobody is hurt", "pass") if _requests(live) else ("no traffic", "none")


def _troubles(report: LiveReport, live: LiveFamily, table: RouteTable | None) -> Iterable[Trouble]:
    for burn in live.burns:
        if burn.action != "none":
            yield Trouble(burn.action, _burning(burn))
    for role in roles(live, table):
        if role.down and role.routed:
            yield Trouble("page", f"nobody answers for {role.name} {role.version}: its worker is {role.state}")
        elif role.down:
            yield Trouble("ticket", f"the {role.name} worker of {role.version} is {role.state}")
    if live.store_error:
        yield Trouble("ticket", f"the store is away, routes stay as they are: {plain(live.store_error)}")
    if report.telemetry_dropped:
        yield Trouble("ticket", f"{many(report.telemetry_dropped, 'telemetry row')} lost since the gateway was started")
    canary = live.canary
    if table is not None and table.canary is not None:
        judged = canary.looked_at if canary is not None and canary.bundle == table.canary.bundle else ""
        late_s = report.at_s - max(_epoch_s(judged) or 0.0, _epoch_s(table.moved_at) or 0.0)
        if late_s > STALE_S and not (canary is not None and canary.settled(table.canary)):
            yield Trouble("page", f"a canary has traffic and nobody has judged it for {duration(late_s)}")


def _burning(burn: Burn) -> str:
    where = "" if burn.slice == OVERALL else f" of {plain(burn.slice)}"
    if burn.short_s == burn.long_s:  # a budget of nothing: counted, not burnt
        return f"{_objective(burn)}{where}: {many(round(burn.rate), 'violation')} in {_span(burn.long_s)}"
    return (
        f"the {_objective(burn)} budget{where} burns {burn.rate:.1f} times too fast, over {_span(burn.short_s)} "
        f"and over {_span(burn.long_s)}"
    )


def _objective(burn: Burn) -> str:
    return plain(burn.objective).replace("_", " ")


def _budgets(live: LiveFamily, alarms: Sequence[BurnAlarm]) -> tuple[Budget, ...]:
    promises = {one.objective: one for one in live.promises}
    burning = sorted(live.burns, key=lambda one: (-_RANK[one.action], one.slice != OVERALL, -one.rate))
    return tuple(_budget(burn, promises.get(burn.objective), alarms) for burn in burning)


def _budget(burn: Burn, promise: Promise | None, alarms: Sequence[BurnAlarm]) -> Budget:
    top = 1.25 * max([alarm.rate for alarm in alarms] or [16.0])
    counted = burn.short_s == burn.long_s
    marks = () if counted else tuple((round(100 * alarm.rate / top, 3), alarm.action) for alarm in alarms)
    return Budget(
        objective=_objective(burn),
        slice=plain(burn.slice),
        promise=_promise(promise),
        rate=f"{burn.rate:.0f}" if counted else f"{burn.rate:.1f} x",
        bar=round(100 * min(burn.rate / top, 1.0), 3),
        marks=marks,
        windows=f"in {_span(burn.long_s)}" if counted else f"{_span(burn.short_s)} and {_span(burn.long_s)}",
        left="overspent" if burn.left < 0 else f"{burn.left:.0%} left",
        left_bar=round(100 * min(max(burn.left, 0.0), 1.0), 3),
        action=burn.action,
    )


def _promise(promise: Promise | None) -> str:
    if promise is None:
        return ""
    share = f"{100 * promise.share:g}%"
    if promise.latency_ms is not None:
        begin = " begin to speak" if promise.objective == "first_audio" else ""
        return f"{share} of answers{begin} within {milliseconds(promise.latency_ms)}"
    if promise.objective == "privacy":
        return "no private run in any answer"
    return f"{share} of requests are answered"


# ---- words ----------------------------------------------------------------------------------------------------------
def _headline(live: LiveFamily, table: RouteTable | None) -> str:
    if table is None:
        waiting = live.preparing is not None
        waits = f"table {live.preparing} waits for its workers" if waiting else "there is no route table yet"
        return f"{waits}: requests are answered 503."
    served = [f"{role.name} {role.version} {role.does}" for role in roles(live, table) if role.routed]
    if table.stable is None:
        served.append("no bundle is stable: other requests are answered 503")
    if live.preparing is not None:
        served.append(f"table {live.preparing} waits for its workers")
    return f"{'; '.join(served)}. {_traffic(live)}"


def _traffic(live: LiveFamily) -> str:
    asked = _requests(live)
    if not asked:
        return "No request in the last minute."
    heard = [window for window in live.now if window.slice == OVERALL and window.arm != "shadow"]
    failed = sum(window.failures for window in heard)
    speed = _slowest(", p95", (window.latency_ms for window in heard))
    begins = _slowest(", first audio p95", (window.first_audio_ms for window in heard))
    return f"Last minute: {many(asked, 'request')}, {failed:,} failed{speed}{begins}."


def _slowest(what: str, times: Iterable[Quantiles | None]) -> str:
    slowest = max((one.p95 for one in times if one is not None), default=None)
    return "" if slowest is None else f"{what} {milliseconds(slowest)}"


def _requests(live: LiveFamily) -> int:
    return sum(window.requests for window in live.now if window.slice == OVERALL and window.arm != "shadow")


def _span(seconds: float) -> str:
    """`5 min`, `1 h`."""
    if seconds < 60:
        return f"{seconds:g} s"
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds / 60:g} min"


def _ago(seconds: float) -> str:
    return f"{max(seconds, 0):.0f} s ago" if seconds < 60 else f"{duration(seconds)} ago"


def _epoch_s(at: str) -> float | None:
    try:
        return datetime.fromisoformat(at).timestamp() if at else None
    except ValueError:
        return None


# ---- the canary -----------------------------------------------------------------------------------------------------
def _evidence(canary: CanaryProgress | None, table: RouteTable | None, at_s: float) -> Evidence | None:
    if canary is None:
        return None
    runs = table is not None and table.canary is not None and table.canary.bundle == canary.bundle
    drawn = tracks(canary.looks, alpha=canary.alpha, evidence=canary.evidence)
    lasted = duration(canary.looks[-1].at_s) if canary.looks else "just begun"
    place = f"stage {canary.stage}, {canary.stages.index(canary.stage) + 1} of {len(canary.stages)}"
    looked_s = _epoch_s(canary.looked_at)
    looked = "" if looked_s is None else f"; the judge looked {_ago(at_s - looked_s)}"
    facts = f"{place}; {lasted} of {duration(canary.deadline_s)}{looked if runs else ''}"
    decision = {"continue": "goes on"}.get(canary.decision, canary.decision.replace("_", " "))
    return Evidence(
        word=decision if runs else f"over: {decision}",
        kind=_DECISIONS.get(canary.decision, "fail"),
        facts=f"{plain(canary.version)}: {facts}",
        reasons=tuple(plain(reason) for reason in canary.reasons),
        shown=drawn[:_SHOWN],
        folded=drawn[_SHOWN:],
    )


def _commands(live: LiveFamily, table: RouteTable | None) -> tuple[Command, ...]:
    family = plain(live.family)
    named = [Command("see where it stands", f"soundcheck status {family}")]
    if table is None or table.stable is None:
        return (*named, Command("release something", f"soundcheck release {family} --candidate DIR"))
    if table.canary is not None:
        named.append(Command("stop the canary", f"soundcheck abort {family}"))
    if any(move.stable and move.stable != table.stable for move in live.history):
        named.append(Command("take stable back", f"soundcheck rollback {family} --key KEY --reason TEXT"))
        one = f"soundcheck rollback {family} --slice device=phone --key KEY --reason TEXT"
        named.append(Command("take one slice back", one))
    degraded = table.degradation is not None
    how = "--off" if degraded else "--mode no_partials"
    what = "serve in full again" if degraded else "serve less instead of nothing"
    named.append(Command(what, f"soundcheck degrade {family} {how} --key KEY --reason TEXT"))
    if table.cascade is not None:
        named.append(Command("let stable answer all", f"soundcheck cascade {family} --off --key KEY --reason TEXT"))
    named.append(Command("forbid promotions", f"soundcheck freeze {family}"))
    return tuple(named)
