"""The end of an incident: what was added so that it is found sooner, as a file that is ready to be merged.

Boundary: writes HOME/incidents/ID/change/ and a blob of the same bytes; operations/incident.py records it.
Invariants: an incident is not closed without naming what was added; each file is checked against the contract of the
place it is for before it is written; it is made from the incident's own findings; nothing in it is anybody's content.
Source: coverage 43; issue "close the loop".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import yaml

from contracts.digest import Digest
from contracts.errors import WrongCall
from contracts.incident import Added, Closure, Incident, Regression
from operations.context import Context
from operations.incident import STEP, Opened, close, find, folder_of
from operations.incident_check import check
from serving.redaction import redact

NOTE = 240
"""Characters of a note."""
WHOLE = "overall"
JUDGED: dict[str, tuple[str, str]] = {
    "failure_rate": ("failures", "requests"), "churn": ("unstable_words", "partial_words"), "wer": ("errors", "words"),
    "retry_rate": ("retries", "requests"), "correction_rate": ("corrections", "requests"),
    "interruption_rate": ("interruptions", "requests"), "abandonment_rate": ("abandonments", "requests"),
    "underrun_rate": ("underruns", "requests"), "support_ticket_rate": ("support_tickets", "requests"),
    "usd_per_success": ("cost_usd", "audio_s"),
}  # fmt: skip
"""Metrics of an incident that a canary can be judged by: numerator and denominator, columns of telemetry."""
ALERTS: dict[str, str] = {
    "queue": 'max by (family) (soundcheck_worker_load_ratio{{family="{family}"}}) >= 0.75',
    "latency": 'soundcheck:latency_seconds:p95{{family="{family}"}} > {seconds:g}',
    "burn": 'soundcheck:objective_burn:5m{{family="{family}"}} >= 6',
}  # fmt: skip


class Change(NamedTuple):
    """A file that is ready: its name, and its text, which says where it belongs."""

    name: str
    text: str


def close_with(context: Context, name: str, *, added: Added, note: str) -> Opened:
    """Close an incident with what was added.

    Raises WrongCall for an empty note and for a change that does not fit its place (operations/incident_check.py),
    Refused for an incident that is closed already.
    """
    incident = find(context, name)
    said = " ".join(redact(note, {"redact_digits_over": 4}).split())[:NOTE]
    if not said:
        raise WrongCall("a note says why", got="an empty note", next_step='--note "what it would have caught, and how"')
    change = MAKERS[added](context, incident)
    check(context, incident, change.name, change.text)
    content = change.text.encode()
    closure = Closure(
        at=context.timestamp(), added=added, note=said, file=f"change/{change.name}",
        change=context.store.put_blob(content),
    )  # fmt: skip
    opened = close(context, incident, closure)
    folder = folder_of(context, incident.incident) / "change"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / change.name).write_bytes(content)
    return opened


def carriers(context: Context, family: str, release: str = "") -> dict[str, str]:
    """Each closed incident of a family, and the release that carries its change; "" while none does.

    A release carries what was closed before it was captured; the first that was promoted counts, and `release`, which
    is about to be. Its evidence names those whose carrier it is.
    """
    events = context.ledger(family).events()
    promoted = {event.release for event in events if event.step == "promote" and event.outcome == "complete"}
    captures = [
        event for event in events if event.step == "capture" and event.outcome == "complete" and event.release
    ]  # fmt: skip
    carrying = [event for event in captures if event.release in promoted | {release}]
    return {
        str(event.data["incident"]): next(
            (capture.release for capture in carrying if capture.sequence > event.sequence), ""
        )
        for event in events
        if event.step == STEP and event.data.get("state") == "closed"
    }


def carried(context: Context, family: str, release: str) -> dict[str, Digest]:
    """The changes of closed incidents that this release is the first to carry: incident -> digest of the change."""
    mine = {name for name, carrier in carriers(context, family, release).items() if carrier == release}
    return {
        str(event.data["incident"]): event.outputs["incident_change"]
        for event in context.ledger(family).events()
        if event.step == STEP and event.data.get("incident") in mine and "incident_change" in event.outputs
    }


def _worst(incident: Incident) -> Regression | None:
    """The first regression that is over a budget: confirmed ones stand before suspicions."""
    over = [one for one in incident.regressions if one.severity is not None]
    return next((one for one in over if one.slice in incident.recommendation.slices), over[0] if over else None)


def _headed(incident: Incident, place: str, value: Any) -> str:
    head = f"# incident {incident.incident} of {incident.family}\n# belongs into {place}\n"
    return head + yaml.safe_dump(value, sort_keys=False, allow_unicode=False, width=110)


def _gate(_context: Context, incident: Incident) -> Change:
    worst = next((one for one in incident.regressions if one.severity is not None and one.metric in JUDGED), None)
    if worst is not None:
        numerator, denominator = JUDGED[worst.metric]
        name, slice_name = worst.metric, worst.slice
        rule: dict[str, Any] = {
            "kind": "ratio", "numerator": numerator, "denominator": denominator, "better": "lower",
            "margin": round(worst.allowed or 0.0, 6),
        }  # fmt: skip
    else:
        slowest = incident.impact.before.p95 if incident.impact.before else 1000.0
        name, slice_name = "latency_ms", (_worst(incident) or _NONE).slice
        rule = {"kind": "quantile", "column": "latency_ms", "quantile": 0.95, "budget": round(slowest * 1.1)}
    if slice_name != WHOLE:
        rule["slices"] = [slice_name.partition("=")[0]]
    value = {"families": {incident.family: {"canary": {"metrics": {name: rule}}}}}
    return Change("params.patch.yaml", _headed(incident, "params.yaml, merged key by key", value))


class _Nothing(NamedTuple):
    slice: str = WHOLE
    metric: str = ""


_NONE = _Nothing()


def _fixture(_context: Context, incident: Incident) -> Change:
    worst = _worst(incident) or _NONE
    replay = incident.replay
    value = {
        "fixtures": [
            {
                "slice": worst.slice, "metric": worst.metric or "any", "count": 12,
                "source": "consented or synthetic audio of this slice; never a user's",
                "expected": "what the bundle that was stable before answers",
            }
        ],
        "differ_between_bundles": replay.different if replay else None,
        "of": replay.fixtures if replay else None,
    }  # fmt: skip
    place = "the family's first eval pack (staging.golden_fixtures draws from it)"
    return Change("fixtures.yaml", _headed(incident, place, value))


def _slice(_context: Context, incident: Incident) -> Change:
    worst = _worst(incident)
    named = worst.slice if worst is not None and worst.slice != WHOLE else ""
    if not named and incident.impact.slices:
        named = incident.impact.slices[0].slice
    if not named:
        raise WrongCall(
            "no slice of this incident stands out",
            where=incident.incident,
            expected="a slice that is over budget, or that has been harmed",
            next_step="close it with what was added instead: gate, fixture, alert or runbook",
        )
    label, _, value = named.partition("=")
    lists: dict[str, Any] = {"slices": [label]}
    if not value.startswith("#"):  # a value that is known by its hash alone has no place in a pack's list
        lists["protected"] = [named]
    lists["min_support"] = {"speakers": 10, "words": 150}
    return Change("pack.slice.yaml", _headed(incident, "pack.yaml of an eval pack, added to its lists", lists))


def _alert(_context: Context, incident: Incident) -> Change:
    seconds = (incident.impact.before.p95 if incident.impact.before else 1000.0) / 1000 * 1.5
    kind = "queue" if incident.saturation.minutes else ("burn" if incident.impact.harms.get("failed") else "latency")
    rule = {
        "alert": f"SoundcheckIncident{incident.incident.rpartition('-')[2].capitalize()}",
        "expr": ALERTS[kind].format(family=incident.family, seconds=seconds),
        "for": "5m",
        "labels": {"severity": "ticket"},
        "annotations": {"summary": f"{incident.family}: as in incident {incident.incident}",
                        "command": f"soundcheck incident open {incident.family} --since 30m"},
    }  # fmt: skip
    value = {"groups": [{"name": "soundcheck-incidents", "rules": [rule]}]}
    return Change("alerts.yaml", _headed(incident, "the rules of your Prometheus", value))


def _runbook(_context: Context, incident: Incident) -> Change:
    worst = _worst(incident)
    seen = f"{worst.metric} of {worst.slice}" if worst else "harmed requests of the whole family"
    trigger = f"{seen} worse by more than {worst.allowed:.4g}" if worst and worst.allowed is not None else seen
    text = "\n".join((
        f"# {incident.family}: {seen}", "",
        f"From incident {incident.incident}.", "",
        f"1. Look: `soundcheck incident open {incident.family} --since 30m`; read the row `{seen}`.",
        f"2. Do: `{incident.recommendation.command}` ({incident.recommendation.action.replace('_', ' ')}).",
        f"3. Roll back when: {trigger}.",
        f"4. Where it was: {incident.localised.because}.",
        "5. It is over when the next revision of the incident has no confirmed regression.", "",
    ))  # fmt: skip
    return Change("runbook.md", text)


MAKERS: dict[Added, Callable[[Context, Incident], Change]] = {
    "gate": _gate, "fixture": _fixture, "slice": _slice, "alert": _alert, "runbook": _runbook,
}  # fmt: skip
