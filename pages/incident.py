"""The incident packet: what to do first, who is hurt, what is known and what is only supposed, as a page and Markdown.

Boundary: no I/O beyond this room's own templates; an Incident in, text out.
Invariants: every text is escaped; nothing outside the page is loaded; the action stands first, with its reason and its
command; facts and hypotheses never share a list; tables hold counts and rates only.
Source: pages.md (Incident packet); coverage 42.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from contracts.digest import Digest, short
from contracts.incident import Incident, Regression, SliceImpact
from pages import markdown as md
from pages.environment import template
from pages.facts import Fact
from pages.figures import duration, many, milliseconds, moment, plain, slice_name
from pages.prose import prose

KINDS = {"continue": "pass", "pause": "inconclusive", "degrade": "inconclusive"}
"""How an action is drawn; others are `fail`."""
WHOLE = "overall"
UNITS = {"usd_per_success": "USD"}


class Grid(NamedTuple):
    """A table: its title, header, rows, and which columns hold numbers."""

    key: str
    title: str
    lede: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[int, ...]


def render(incident: Incident) -> str:
    """The packet as a whole HTML document."""
    return template("incident/page.html.j2").render(
        incident=incident,
        word=_word(incident),
        kind="pass" if incident.state == "closed" else KINDS.get(incident.recommendation.action, "fail"),
        headline=headline(incident),
        facts=_facts(incident),
        grids=grids(incident),
        prose=prose(_digests(incident)),
    )


def markdown(incident: Incident) -> str:
    """The same for tickets and chats."""
    said = incident.recommendation
    lines = [f"# Incident {md.text(incident.incident)}: {md.text(incident.family)}", ""]
    lines += [f"**{md.text(_word(incident)).upper()}** {md.text(said.reason)}", "", md.code(said.command), ""]
    lines += [md.text(headline(incident)), ""]
    lines += md.bullets(f"{md.text(fact.label)}: {md.text(fact.text)}" for fact in _facts(incident))
    lines += ["## Confirmed facts", "", *(md.bullets(map(md.text, incident.facts)) or ["none yet", ""])]
    lines += ["## Hypotheses", "", *(md.bullets(map(md.text, incident.hypotheses)) or ["none", ""])]
    for grid in grids(incident):
        if grid.rows:
            lines += [f"## {md.text(grid.title)}", ""]
            lines += md.table(grid.header, [tuple(map(md.text, row)) for row in grid.rows], right=grid.right)
    return "\n".join(lines).rstrip() + "\n"


def headline(incident: Incident) -> str:
    """One sentence of impact."""
    whole = incident.impact.whole
    share = f" ({whole.harmed_requests / whole.requests:.1%})" if whole.requests else ""
    lasted = duration(incident.until_s - incident.since_s)
    return (
        f"In {lasted}, {whole.harmed_requests:,} of {many(whole.requests, 'request')}{share} and "
        f"{whole.harmed_sessions:,} of {many(whole.sessions, 'session')} were harmed."
    )


def left_behind(incident: Incident) -> str:
    """What an incident added, as a release that carries it says it."""
    closed = incident.closed
    return f"{incident.incident}: {closed.added}, {closed.note}" if closed else f"{incident.incident}: still open"


def _word(incident: Incident) -> str:
    if incident.state == "closed":
        return "closed"
    return incident.recommendation.action.replace("_", " ")


def _facts(incident: Incident) -> tuple[Fact, ...]:
    until = moment(datetime.fromtimestamp(incident.until_s, UTC).isoformat())
    since = moment(datetime.fromtimestamp(incident.since_s, UTC).isoformat())
    facts = [
        Fact("state", f"{incident.state}, revision {incident.revision}"),
        Fact("opened", moment(incident.opened_at)),
        Fact("next update due", moment(incident.next_update_at) if incident.next_update_at else "none: closed"),
        Fact("window", f"{since} to {until}"),
        Fact("compared with", f"the {duration(incident.since_s - incident.baseline_since_s)} before"),
        Fact("stable", _bundle(incident, incident.stable)),
    ]
    if incident.canary:
        facts.append(Fact("canary", _bundle(incident, incident.canary)))
    if incident.impact.suppressed_groups:
        groups = many(incident.impact.suppressed_groups, "group")
        facts.append(Fact("not shown", f"{groups} of fewer than {incident.smallest_group} sessions, or beside one"))
    if incident.closed:
        facts.append(Fact("added", f"{incident.closed.added}, {incident.closed.file}: {incident.closed.note}"))
    return tuple(facts)


def _bundle(incident: Incident, bundle: Digest | None) -> str:
    return "none" if bundle is None else f"{incident.versions.get(bundle, 'bundle')} {short(bundle)}"


def _digests(incident: Incident) -> frozenset[Digest]:
    return frozenset(one for one in (incident.stable, incident.canary) if one)


# ---- tables ---------------------------------------------------------------------------------------------------------
def grids(incident: Incident) -> tuple[Grid, ...]:
    """Every table of the packet, in order; one without rows is left out by who shows it."""
    return (_slices(incident), _regressions(incident), _stages(incident), _queue(incident), _costs(incident),
            _cost_change(incident), _back(incident), _replayed(incident), _done(incident))  # fmt: skip


def _slices(incident: Incident) -> Grid:
    impact = incident.impact
    rows = [_impact_row("all traffic", impact.whole)]
    rows += [
        (f"{one.arm} {_bundle(incident, one.bundle)}", f"{one.harmed_requests:,}", f"{one.requests:,}",
         _share(one.harmed_requests, one.requests), "", "")
        for one in impact.bundles
    ]  # fmt: skip
    rows += [_impact_row(_slice(one.slice), one) for one in impact.slices]
    kinds = ", ".join(f"{plain(kind).replace('_', ' ')} {count:,}" for kind, count in impact.harms.items())
    errors = ", ".join(f"{plain(code)} {count:,}" for code, count in impact.errors.items())
    lede = "; ".join(
        part for part in (f"harm: {kinds}" if kinds else "", f"errors: {errors}" if errors else "") if part
    )
    header = ("where", "harmed", "requests", "share", "sessions", "p95")
    return Grid("impact", "Who is hurt", lede, header, tuple(rows), (1, 2, 3, 4, 5))


def _impact_row(called: str, one: SliceImpact) -> tuple[str, ...]:
    p95 = milliseconds(one.latency_ms.p95) if one.latency_ms else "none"
    return (called, f"{one.harmed_requests:,}", f"{one.requests:,}", _share(one.harmed_requests, one.requests),
            f"{one.harmed_sessions:,} of {one.sessions:,}", p95)  # fmt: skip


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"


def _slice(name: str) -> str:
    return "all traffic" if name == WHOLE else (plain(name) if "=#" in name else slice_name(name))


def _regressions(incident: Incident) -> Grid:
    rows = tuple(_regression_row(incident, one) for one in incident.regressions)
    lede = "Each slice against its own baseline, worst first; bounds hold for all of them together."
    header = ("metric", "slice", "was", "is", "worse by", "allowed", "sessions", "state")
    return Grid("regressions", "What got worse", lede, header, rows, (2, 3, 4, 5, 6))


def _regression_row(incident: Incident, one: Regression) -> tuple[str, ...]:
    metric = plain(one.metric).replace("_", " ") or "every metric"
    if one.against == "stable":
        metric += f" (canary {_bundle(incident, one.bundle)})"
    if one.severity is None or one.lower is None or one.upper is None or one.delta is None:
        return (metric, _slice(one.slice), "", "", "", "", f"{one.sessions:,}", one.problem.replace("_", " "))
    worse = f"{_number(one.metric, one.delta)} [{_number(one.metric, one.lower)}, {_number(one.metric, one.upper)}]"
    return (metric, _slice(one.slice), _number(one.metric, one.baseline), _number(one.metric, one.value), worse,
            _number(one.metric, one.allowed), f"{one.sessions:,}",
            "confirmed" if one.confirmed else "suspected")  # fmt: skip


def _number(metric: str, value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.3g} {UNITS[metric]}" if metric in UNITS else f"{100 * value:.1f}%"


def _stages(incident: Incident) -> Grid:
    rows = tuple(
        (one.stage, f"{one.before_ms:.1f} ms", f"{one.now_ms:.1f} ms", f"{one.growth_ms:+.1f} ms", f"{one.share:.0%}",
         "confirmed" if one.confirmed else "within noise")
        for one in incident.localised.stages
    )  # fmt: skip
    lede = f"{incident.localised.because}. Means of answered requests; inference is recogniser and decoder together."
    header = ("stage", "was", "is", "growth", "of all growth", "state")
    return Grid("stages", "Where the time went", lede, header, rows, (1, 2, 3, 4))


def _queue(incident: Incident) -> Grid:
    found = incident.saturation
    rows = tuple(
        (moment(datetime.fromtimestamp(one.minute_s, UTC).isoformat()), f"{one.depth:.1f}", f"{one.growth:+.1f}",
         milliseconds(one.p95_ms))
        for one in found.minutes[:30]
    )  # fmt: skip
    lede = (
        f"{many(len(found.minutes), 'minute')} of {found.watched} in which the queue had grown by "
        f"{found.growth_threshold:g} or more and the tail was over {milliseconds(found.p95_threshold_ms)}; "
        f"{many(found.missing, 'minute')} without telemetry."
    )
    return Grid("queue", "Was work waiting", lede, ("minute", "waiting", "growth", "p95"), rows, (1, 2, 3))


def _costs(incident: Incident) -> Grid:
    rows = tuple(
        (plain(one.route), f"{one.turns:,}", f"{one.successes:,}", f"{one.cost_usd:.4g} USD",
         "no success" if one.usd_per_success is None else f"{1000 * one.usd_per_success:.4g} USD",
         "dear without being better" if one.flagged else "")
        for one in incident.cost.routes
    )  # fmt: skip
    header = ("route", "turns", "successful", "cost", "for 1,000 successful turns", "")
    return Grid("cost", "What success costs", incident.cost.cause, header, rows, (1, 2, 3, 4))


def _cost_change(incident: Incident) -> Grid:
    rows = tuple(
        (one.factor.replace("_", " "), f"{one.before:.4g}", f"{one.now:.4g}", f"{one.times:.2f}")
        for one in incident.cost.factors
    )
    times = incident.cost.times
    lede = f"A successful turn costs {times:.2f} times what it did; the factors multiply to that." if times else ""
    return Grid("factors", "Why the cost changed", lede, ("factor", "was", "is", "times"), rows, (1, 2, 3))


def _back(incident: Incident) -> Grid:
    rows = tuple(
        (f"{plain(one.version)} {short(one.bundle)}".strip(), f"{one.harm:.1f}", str(one.slices))
        for one in incident.candidates
    )
    lede = "Bundles with confirmed harm; critical slices weigh more. The first is the one to take back."
    return Grid("candidates", "Which bundle to take back", lede, ("bundle", "weighted harm", "slices"), rows, (1, 2))


def _replayed(incident: Incident) -> Grid:
    found = incident.replay
    header = ("fixtures", "differ", "word edits", "words", "old differs from what it declared", "new does")
    if found is None:
        return Grid("replay", "The same audio through both bundles", "", header, (), ())
    row = (found.fixtures, found.different, found.word_edits, found.words, found.old_declared_different,
           found.new_declared_different)  # fmt: skip
    lede = f"Golden fixtures through {short(found.old)} and {short(found.new)}; nobody's audio."
    shown = tuple(f"{count:,}" for count in row)
    return Grid("replay", "The same audio through both bundles", lede, header, (shown,), tuple(range(6)))


def _done(incident: Incident) -> Grid:
    rows = tuple((moment(one.at), one.step.replace("_", " "), plain(one.version)) for one in incident.done)
    return Grid("done", "What has been done", "", ("when", "step", "bundle"), rows, ())


def listing(incidents: Sequence[Incident], now: str, carriers: Mapping[str, str]) -> list[str]:
    """Lines for a terminal, one an incident; an update that is overdue is said.

    `carriers`: closed incident -> version of the release that carries its change, "" while none does.
    """
    lines = []
    for one in incidents:
        due = one.next_update_at
        late = due is not None and datetime.fromisoformat(due) < datetime.fromisoformat(now)
        when = "" if due is None else f"  {'update overdue since' if late else 'next update'} {moment(due)}"
        version = carriers.get(one.incident)
        carried = f"carried by {plain(version)}" if version else "waits for the next release"
        how = f"closed  added: {one.closed.added}, {carried}" if one.closed else f"open  {_word(one)}{when}"
        lines.append(f"{one.incident}  {one.family}  {how}")
    return lines
