"""Incidents: opened, looked at again, closed with what was added; a packet for people each time.

Boundary: reads telemetry, ledger, pointer and params.yaml; writes one document and one ledger event a revision, and
HOME/incidents/ID/{packet.md,packet.json,index.html}. Needs neither Prefect nor MLflow. What is found is
monitoring/incident, what is added at the end is operations/incident_change.py.
Invariants: no text of telemetry reaches a packet but values that the family's own documents name; a bundle's own rows
are never its baseline; the ledger has every revision, the folder the last one.
Source: coverage rows 27, 38, 39, 41 to 45; release-algorithm R7, B.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from contracts.digest import Digest, digest_of, short
from contracts.errors import NotFound, Refused, SoundcheckError, WrongCall
from contracts.incident import INCIDENTS, Action, Closure, Done, Incident, Recommendation, Replay
from contracts.incident_settings import IncidentSettings, MetricBudget
from contracts.ledger_event import LedgerEvent
from contracts.policy import FamilyPolicy
from contracts.reports import ScoreReport
from contracts.routing import RouteTable
from operations import pointer
from operations.context import Context, put
from operations.incident_replay import replay
from operations.telemetry import latency_budget
from registry.bundle import load_manifest
from registry.documents import get_document
from registry.release_state import ReleaseState
from registry.resolver import candidates

if TYPE_CHECKING:
    import pandas as pd

    from monitoring.incident.findings import Findings, Question
    from monitoring.incident.naming import Names

STEP = SECTION = "incident"
DONE_STEPS = frozenset(
    {"promote", "rollback", "abort", "freeze", "unfreeze", "condemn", "degrade", "cascade", "canary_slices"}
)


class Opened(NamedTuple):
    """An incident's newest revision and where its packet lies."""

    incident: Incident
    folder: Path


def open_incident(context: Context, family: str, *, since_s: float, with_replay: bool = True) -> Opened:
    """Declare an incident over the last `since_s` seconds of a family's traffic.

    Raises WrongCall for a family or window that is none, Corrupt for telemetry that cannot be read: an incident is not
    judged on fewer rows than there are.
    """
    context.settings.policy(family)
    if not 60 <= since_s <= 30 * 86_400:
        raise WrongCall(
            "the window of an incident is a minute to 30 days",
            got=f"{since_s:g} s",
            next_step="say for example --since 30m",
        )
    now_s = context.now().timestamp()
    at = context.timestamp()
    head = context.ledger(family).state().head
    name = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%d-%H%M%S-") + digest_of([family, at, head])[:8]
    incident = _look(context, family, name, since_s=now_s - since_s, until_s=now_s, with_replay=with_replay)
    return _record(context, incident)


def update(context: Context, name: str, *, with_replay: bool = False) -> Opened:
    """Look again: from where the incident began until now; its baseline stays. Refused for one that is closed."""
    before = find(context, name)
    _require_open(before)
    found = _look(
        context, before.family, before.incident, since_s=before.since_s, until_s=context.now().timestamp(),
        baseline_since_s=before.baseline_since_s, with_replay=with_replay,
    )  # fmt: skip
    changes = {"revision": before.revision + 1, "opened_at": before.opened_at}
    return _record(context, found.model_copy(update=changes if found.replay else changes | {"replay": before.replay}))


def close(context: Context, before: Incident, closure: Closure) -> Opened:
    """Record that the incident is over and what was added (operations/incident_change.py makes that)."""
    _require_open(before)
    changes = {
        "state": "closed", "closed": closure, "revision": before.revision + 1, "updated_at": closure.at,
        "next_update_at": None,
    }  # fmt: skip
    return _record(context, before.model_copy(update=changes))


def settings_of(context: Context, family: str) -> IncidentSettings:
    """What the family's incidents are judged by; WrongCall for a wrong value in params.yaml."""
    return context.settings.of_family(SECTION, IncidentSettings, family)


def find(context: Context, name: str) -> Incident:
    """The newest revision of an incident, by its ID or a beginning of it that only one has."""
    newest = _newest(context)
    found = [one for one in newest if one.startswith(name)]
    if len(found) != 1:
        raise NotFound(
            "no incident has this ID" if not found else "several incidents begin like this",
            got=name, expected=", ".join(found[:5]), next_step="soundcheck incident list",
        )  # fmt: skip
    return get_document(context.store, Incident, newest[found[0]])


def incidents(context: Context) -> list[Incident]:
    """The newest revision of every incident, the newest incident first."""
    newest = _newest(context)
    return [get_document(context.store, Incident, newest[name]) for name in sorted(newest, reverse=True)]


def folder_of(context: Context, name: str) -> Path:
    """Where an incident's packet lies."""
    return context.home / INCIDENTS / name


def _newest(context: Context) -> dict[str, Digest]:
    """The document of each incident's newest revision, by ID."""
    return {
        str(event.data["incident"]): event.outputs["incident"]
        for family in context.settings.families
        for event in context.ledger(family).events()
        if event.step == STEP and event.outcome == "complete"
    }


def _require_open(incident: Incident) -> None:
    if incident.state == "closed":
        raise Refused(
            "the incident is closed",
            where=incident.incident,
            got=f"closed at {incident.updated_at}",
            next_step=f"open a new one: soundcheck incident open {incident.family} --since 30m",
        )


def _record(context: Context, incident: Incident) -> Opened:
    """Document and event first, then the files: they can be made again from the document."""
    (digest,) = put(context, incident)
    outputs = {"incident": digest}
    data: dict[str, JsonValue] = {
        "incident": incident.incident, "state": incident.state, "revision": incident.revision,
        "action": incident.recommendation.action,
    }  # fmt: skip
    if incident.closed is not None:
        outputs["incident_change"] = incident.closed.change
        data |= {"added": incident.closed.added, "file": incident.closed.file}
    context.ledger(incident.family).append(STEP, "complete", at=incident.updated_at, outputs=outputs, data=data)
    return Opened(incident, _write_packet(context, incident))


def _write_packet(context: Context, incident: Incident) -> Path:
    import json

    from pages import incident as page

    folder = folder_of(context, incident.incident)
    folder.mkdir(parents=True, exist_ok=True)
    said = json.dumps(incident.as_json(), indent=2, sort_keys=True) + "\n"
    for name, text in (
        ("packet.json", said),
        ("packet.md", page.markdown(incident)),
        ("index.html", page.render(incident)),
    ):
        temporary = folder / f".{name}.tmp"
        temporary.write_text(text)
        os.replace(temporary, folder / name)
    return folder


# ---- looking --------------------------------------------------------------------------------------------------------
def _look(
    context: Context, family: str, name: str, *, since_s: float, until_s: float, with_replay: bool,
    baseline_since_s: float | None = None,
) -> Incident:  # fmt: skip
    from monitoring.incident.findings import investigate

    judged = settings_of(context, family)
    if baseline_since_s is None:
        baseline_since_s = since_s - max(judged.baseline_windows * (until_s - since_s), judged.least_baseline_s)
    ledger, table = context.ledger(family), pointer.current(context, family).table
    state = ledger.state()
    rows = _rows(context, family, baseline_since_s, until_s)
    asked = _question(context, family, table, state, baseline_since_s, since_s, until_s)
    if asked.new:  # what the new bundle did before the window is not what it is compared with
        rows = rows[(rows["timestamp"] >= since_s) | (rows["bundle"] != asked.stable)]
    found = investigate(rows, asked)
    played, not_played = _replay(context, asked, state) if with_replay else (None, ())
    at = context.timestamp()
    due = datetime.fromisoformat(at) + timedelta(seconds=judged.due_s[found.advice.action])
    return Incident(
        incident=name, family=family, opened_at=at, updated_at=at,
        next_update_at=due.strftime("%Y-%m-%dT%H:%M:%SZ"),
        since_s=since_s, until_s=until_s, baseline_since_s=baseline_since_s, smallest_group=judged.smallest_group,
        stable=asked.stable, canary=asked.canary,
        versions={one: asked.versions[one] for one in (asked.stable, asked.canary) if one and one in asked.versions},
        impact=found.impact, regressions=found.regressions, localised=found.localised, saturation=found.saturation,
        cost=found.cost, candidates=found.candidates,
        replay=played,
        recommendation=_recommendation(family, found, can_go_back=bool(candidates(state))),
        done=tuple(_done(ledger.events(), state, baseline_since_s)), facts=(*found.facts, *not_played),
        hypotheses=found.hypotheses,
    )  # fmt: skip


def _rows(context: Context, family: str, since_s: float, until_s: float) -> pd.DataFrame:
    from monitoring.incident.tallies import COLUMNS
    from serving.telemetry import read

    return read(context.home / "telemetry", family, since_s, until_s, columns=COLUMNS)


def _question(
    context: Context, family: str, table: RouteTable | None, state: ReleaseState, baseline_since_s: float,
    since_s: float, until_s: float,
) -> Question:  # fmt: skip
    from monitoring.incident.findings import Question

    judged = settings_of(context, family)
    policy, serving = context.settings.policy(family), context.settings.serving
    budget = latency_budget(policy.canary)
    allowed = {"availability": 1 - serving.availability} | ({"latency": 1 - budget[1]} if budget else {})
    stable = table.stable if table else None
    moved = [datetime.fromisoformat(move.at).timestamp() for move in state.history if move.bundle == stable]
    return Question(
        since_s=since_s, until_s=until_s, names=_names(context, policy, table), stable=stable,
        canary=table.canary.bundle if table and table.canary else None,
        new=bool(moved) and moved[-1] >= baseline_since_s and bool(candidates(state)),
        versions=state.packaged, slow_ms=budget[0] if budget else None, allowed=allowed, weights=_weights(policy),
        routable=policy.canary.routable, growth_threshold=judged.queue_growth * serving.queue_limit,
        settings=judged, budgets=_budgets(policy, judged),
    )  # fmt: skip


def _names(context: Context, policy: FamilyPolicy, table: RouteTable | None) -> Names:
    """The values that documents of the family name: cohort, routes, gates, languages, slices of its quality report."""
    from monitoring.incident.naming import Names
    from serving.ingress import salt

    declared: dict[str, set[str]] = {label: set(values) for label, values in policy.canary.cohort.items()}
    for rule in table.slice_rules if table else ():
        declared.setdefault(rule.label, set()).add(rule.value)
    languages = policy.registry.get("languages")
    declared.setdefault("language", set()).update(map(str, languages) if isinstance(languages, list) else ())
    for name in (*_gated(policy), *(_scored(context, table.stable) if table and table.stable else ())):
        for part in name.split("&"):
            label, separator, value = part.partition("=")
            if separator:
                declared.setdefault(label, set()).add(value)
    return Names(declared, salt(context.home / "keys" / "telemetry.salt"))


def _gated(policy: FamilyPolicy) -> set[str]:
    listed = {name for gate in policy.quality if isinstance(gate.slices, tuple) for name in gate.slices}
    return listed | {name.rpartition("/")[2] for name in policy.high_risk_slices}


def _scored(context: Context, stable: Digest) -> set[str]:
    report = load_manifest(context.store, stable).files.get("reports/quality.json")
    if report is None:
        return set()
    return {key.rpartition("/")[2] for key in get_document(context.store, ScoreReport, report.sha256).words}


def _weights(policy: FamilyPolicy) -> dict[str, float]:
    from monitoring.incident.candidates import CRITICAL, PROTECTED

    risky = {name.rpartition("/")[2] for name in policy.high_risk_slices}
    return {name: CRITICAL if name in risky else PROTECTED for name in _gated(policy)}


def _budgets(policy: FamilyPolicy, judged: IncidentSettings) -> dict[str, MetricBudget]:
    """The family's own margin of WER over what its section says."""
    own = policy.canary.metrics.get("wer")
    budgets: dict[str, MetricBudget] = dict(judged.budgets.items())
    if own is not None and own.kind == "ratio":
        budgets["wer"] = MetricBudget(better="lower", allowed=own.margin, relative=own.relative)
    return budgets


def _replay(context: Context, asked: Question, state: ReleaseState) -> tuple[Replay | None, tuple[str, ...]]:
    """The bundle that answers now beside the one before it: a canary beside stable, else stable beside its target.

    A bundle that cannot be played is a fact of the packet: an incident is not held up by it.
    """
    earlier = candidates(state)
    old, new = (asked.stable, asked.canary) if asked.canary else (next(iter(earlier), None), asked.stable)
    if old is None or new is None:
        return None, ()
    try:
        return replay(context, old=old, new=new), ()
    except SoundcheckError as error:
        return None, (f"fixtures could not be played through both bundles: {error.what}",)


def _recommendation(family: str, found: Findings, *, can_go_back: bool) -> Recommendation:
    advice = found.advice
    signed = f"{family} --key KEY --reason TEXT"
    commands: dict[Action, str] = {
        "continue": f"soundcheck status {family}",
        "pause": f"soundcheck freeze {family}",
        "degrade": f"soundcheck degrade {signed} --mode no_partials",
        "partial_rollback": f"soundcheck rollback {signed} " + " ".join(f"--slice {name}" for name in advice.slices),
        "rollback": f"soundcheck rollback {signed}" if can_go_back else f"soundcheck packet {family}",
    }
    command = f"soundcheck abort {family} --key KEY" if _stops_canary(found) else commands[advice.action]
    return Recommendation(action=advice.action, reason=advice.reason, command=command, slices=advice.slices)


def _stops_canary(found: Findings) -> bool:
    return found.blames_canary and found.advice.action == "rollback"


def _done(events: Iterable[LedgerEvent], state: ReleaseState, since_s: float) -> Iterable[Done]:
    known = set(state.packaged.values())
    for event in events:
        settled = event.step in DONE_STEPS and event.outcome == "complete"
        if settled and datetime.fromisoformat(event.at).timestamp() >= since_s:
            bundle = event.outputs.get("bundle", "")
            said = str(event.data.get("version", "")) or state.packaged.get(bundle, "")
            yield Done(at=event.at, step=event.step, version=said if said in known else short(bundle))
