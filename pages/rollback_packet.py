"""The rollback packet as a page: who, what to run, what to look at, what to tell people; the risks that were known.

Boundary: no I/O beyond this room's own templates; the packet and what became of its bundle in, text out.
Invariants: every text of a document is escaped; nothing outside the page is loaded; the command stands first.
Source: pages.md; coverage 28.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from contracts.digest import Digest
from contracts.policy import CanaryMetric
from contracts.reports import CanaryReport, Comparison
from contracts.rollback_packet import RollbackPacket
from contracts.verdict import Value
from pages.comparing import change, difference, limit, marks, subject
from pages.environment import template
from pages.facts import Fact, flat
from pages.figures import many, moment, plain
from pages.prose import prose

Place = Literal["stable", "canary", "not routed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PacketView:
    """A packet, and what has become of its bundle.

    Attributes:
        place: where the bundle stands in the family's route table.
        target_version: the version of the packet's target.
        evidence: digest of the evidence that approvers were shown, None before they were.
        canary: what its canary said, None before there was one.
        now: UTC time of writing, ISO 8601 with `Z`.
    """

    packet: RollbackPacket
    bundle: Digest
    now: str
    place: Place
    target_version: str | None = None
    evidence: Digest | None = None
    canary: CanaryReport | None = None


class Risk(NamedTuple):
    """One known risk as a row of the table."""

    subject: str
    value: str
    difference: str
    limit: str
    support: str
    marks: tuple[str, ...]
    word: str
    kind: str


def render(view: PacketView) -> str:
    """The packet as a whole HTML document."""
    packet = view.packet
    known = frozenset(one for one in (view.bundle, packet.target, view.evidence) if one)
    page: dict[str, Any] = {
        "view": view,
        "packet": packet,
        "headline": headline(view),
        "facts": _facts(view),
        "target": target(view),
        "thresholds": thresholds(packet),
        "risks": tuple(_risk(one) for one in packet.known_risks),
        "canary": _stages(view.canary),
        "compatibility": flat(_compatibility(packet)),
        "links": flat(dict(packet.links)),
    }
    return template("packet/page.html.j2").render(page, prose=prose(known))


def headline(view: PacketView) -> str:
    """One sentence: where the bundle stands and what the way back is."""
    packet = view.packet
    where = {"stable": "serves users", "canary": "is a canary", "not routed": "serves nobody now"}[view.place]
    way = (
        f"the way back is {target(view)}"
        if packet.target
        else "there is nothing to go back to: it is the first release"
    )
    return f"this bundle {where}; {way}."


def target(view: PacketView) -> str:
    """`v1 b81e90c4d2aa`, or that there is none."""
    if view.packet.target is None:
        return "none: first release"
    return f"{plain(view.target_version or 'bundle')} {view.packet.target}"


def essentials(packet: RollbackPacket) -> tuple[Fact, ...]:
    """What the packet says that no other part of a release's page does: how to go back, and what must fit."""
    return (
        Fact("to go back", plain(packet.rollback.command)),
        Fact("it is done when", plain(packet.verified_when)),
        Fact("proved by", plain(packet.verification)),
        *flat(_compatibility(packet)),
        Fact("before it is released again", plain("; ".join(packet.criteria))),
    )


def thresholds(packet: RollbackPacket) -> tuple[Fact, ...]:
    """What it is held to in production, a line a metric."""
    canary = [Fact(plain(name).replace("_", " "), _rule(rule)) for name, rule in packet.thresholds.canary.items()]
    budgets = packet.thresholds.serving.model_dump(mode="json", exclude_none=True)
    return (*canary, *flat(budgets, "offline, "))


def _rule(rule: CanaryMetric) -> str:
    if rule.kind == "never":
        return f"never: one row with {plain(rule.column)} is a rollback at once"
    parts = [f"p{rule.quantile * 100:g}" if rule.kind == "quantile" else "ratio of sums"]
    if rule.budget is not None:
        parts.append(f"{'at most' if rule.better == 'lower' else 'at least'} {rule.budget:g}")
    if rule.margin:
        parts.append(f"worse than stable by {rule.margin:g}{' of it' if rule.relative else ''} at most")
    return ", ".join(parts)


def _risk(one: Comparison) -> Risk:
    value = one.verdict.value
    support = f"{many(one.speakers, 'speaker')}, {many(one.utterances, 'utterance')}"
    return Risk(subject(one), change(one), difference(one), limit(one), support, marks(one), value.upper(), value)


class Stage(NamedTuple):
    """A canary stage in words."""

    name: str
    kind: str
    decision: str
    sessions: str
    reasons: tuple[str, ...]


_KINDS = {"promote": Value.PASS, "continue": Value.INCONCLUSIVE, "hold": Value.INCONCLUSIVE}


def _stages(report: CanaryReport | None) -> tuple[Stage, ...]:
    return tuple(
        Stage(
            stage.stage,
            _KINDS.get(stage.decision, Value.FAIL),
            stage.decision.replace("_", " "),
            f"{many(stage.canary_sessions, 'session')} of it, {many(stage.stable_sessions, 'session')} of stable",
            stage.reasons,
        )
        for stage in (report.stages if report else ())
    )


def _facts(view: PacketView) -> tuple[Fact, ...]:
    packet = view.packet
    return (
        Fact("on call", plain(packet.on_call)),
        Fact("owner", plain(packet.owner)),
        Fact("flag", plain(packet.flag)),
        Fact("bundle", view.bundle, True),
        Fact("evidence", view.evidence, True) if view.evidence else Fact("evidence", "not reached"),
        Fact("written", moment(view.now)),
    )


def _compatibility(packet: RollbackPacket) -> dict[str, Any]:
    fields = packet.compatibility.model_dump(mode="json")
    cohort = "; ".join(f"{name} is {' or '.join(values)}" for name, values in packet.cohort.items())
    return {
        **fields,
        "embedding_dimension": fields["embedding_dimension"] or "none: it makes no embeddings",
        "cohort": cohort or "none: every session alike",
        "stages": " then ".join(packet.stages),
        "cache": packet.cache,
    }
