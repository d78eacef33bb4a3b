"""The release report: one self-contained HTML page, verdict first, then reasons, numbers, pictures and detail.

Boundary: no I/O beyond this room's own templates; documents in, text out. What stands where is computed in plots/ and
lineage.py, how it looks is templates/release/.
Invariants: every text of a document is escaped; nothing outside the page is loaded (a content policy forbids it); a
section without its document says "not reached".
Source: pages.md (Release report).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from contracts.policy import ServingGate, Task
from contracts.reports import TimingReport
from contracts.verdict import Value, Verdict
from pages import lineage, migration
from pages.environment import template
from pages.facts import Fact, flat
from pages.figures import duration, milliseconds, moment, plain, size
from pages.plots.calibration import reliabilities
from pages.plots.cost import moves
from pages.plots.errors import error_packs
from pages.plots.evidence import Track, tracks
from pages.plots.forest import Forest, forests, stage_forests
from pages.plots.latency import latencies
from pages.plots.routes import routes
from pages.plots.timeline import timeline
from pages.prose import card, digests, prose
from pages.reading import (
    NOT_REACHED,
    Row,
    bundle_bytes,
    bundle_row,
    canary_row,
    commands,
    headline,
    policy_changes,
    privacy_row,
    provenance_row,
    quality_row,
    reviews,
    rollback_row,
    safety_row,
    serving_row,
    signature,
    target,
    waived,
)
from pages.rollback_packet import essentials
from pages.staged import measured
from pages.stops import stop_of
from pages.view import ReleaseView

_OUTCOMES = {
    "promoted": ("Promoted", "pass"),
    "waiting": ("Waiting", "inconclusive"),
    "held": ("Held", "inconclusive"),
    "stopped": ("Stopped", "fail"),
    "rejected": ("Rejected", "fail"),
}

_SECTIONS = (
    ("act", "What to do"),
    ("slices", "Slices"),
    ("exchange", "Cost against quality"),
    ("speed", "Speed"),
    ("errors", "Errors"),
    ("routing", "Routing"),
    ("calibration", "Calibration"),
    ("streaming", "Streaming"),
    ("safety", "Safety"),
    ("staging", "Staging"),
    ("migration", "Migration"),
    ("canary", "Canary"),
    ("approvals", "Approvals"),
    ("lineage", "Lineage"),
    ("contract", "Contract"),
    ("policy", "Policy"),
    ("rollback", "Rollback"),
    ("bundle", "Bundle"),
    ("card", "Model card"),
)

_TASKS: dict[str, frozenset[Task]] = {
    "errors": frozenset(("transcription", "synthesis", "dialogue")),
    "calibration": frozenset(("transcription", "classification", "dialogue")),
    "streaming": frozenset(("transcription",)),
}
"""Sections that only some tasks have: those with words, with a confidence, with partials."""


def render(view: ReleaseView) -> str:
    """The page of one release as a whole HTML document."""
    word, kind = _OUTCOMES[view.outcome]
    task, routed = view.policy.task, bool(view.score and view.score.routes)
    absent = {place for place, there in (("routing", routed), ("migration", view.migration)) if not there}
    sections = [one for one in _SECTIONS if task in _TASKS.get(one[0], (task,)) and one[0] not in absent]
    page: dict[str, Any] = {
        "sections": sections,
        "shown": {place for place, _ in sections},
        "view": view,
        "word": word,
        "kind": kind,
        "headline": headline(view),
        "answers": [] if view.outcome == "promoted" else stop_of(view).answers(),
        "facts": _header_facts(view),
        "reasons": _reasons(view),
        "tiles": tiles(view),
        "not_reached": NOT_REACHED,
        "commands": commands(view),
        **_pictures(view),
        "costs": _costs(view),
        "exchange": view.gate.exchange if view.gate else (),
        "safety": _safety(view),
        "staged": measured(view.replay) if view.replay else (),
        "migration": card(migration.markdown(view.migration)) if view.migration else None,
        "stages": _stages(view),
        "waivers": waived(view),
        "review": reviews(view),
        "policy_changes": policy_changes(view),
        "graph": lineage.graph(view.events),
        "contract": _contract(view),
        "bundle_size": size(bundle_bytes(view)),
        "model_card": card(view.model_card),
        "packet": essentials(view.rollback_packet) if view.rollback_packet else (),
        "target": target(view),
        "policy_digest": view.policy.digest(),
        "evidence_digest": view.evidence.digest() if view.evidence else None,
        "signature": signature,
    }
    return template("release/page.html.j2", box=lineage.BOX).render(page, prose=prose(digests(view)))


def _pictures(view: ReleaseView) -> dict[str, Any]:
    score, timing = view.score, view.timing
    accepted = {(one.pack, one.slice, one.metric, one.baseline) for one in view.waivers}
    return {
        "forests": forests(score.comparisons, accepted) if score else (),
        "latencies": latencies(timing, view.replay, view.policy.serving),
        "moves": moves(score, timing) if score and timing else (),
        "errors": error_packs(score) if score else (),
        "routes": routes(score) if score else (),
        "reliabilities": reliabilities(score.calibration, score.stable_calibration) if score else (),
        "timeline": timeline(view.timeline) if view.timeline else None,
    }


def _safety(view: ReleaseView) -> tuple[Fact, ...]:
    """Every figure of the safety report, also those that later versions add; its verdict stands above them.

    What was never planted has no figures: models that give no words are asked nothing about words.
    """
    if view.safety is None:
        return ()
    known = {"family", "version", "payload_digest", "verdict"}
    known |= set() if view.safety.clips else {"clips", "hallucinated_words", "clips_with_words"}
    known |= set() if view.safety.redaction_planted else {"redaction_planted", "redaction_leaked"}
    return flat(view.safety.model_dump(mode="json", exclude=known))


def _reasons(view: ReleaseView) -> list[tuple[str, Value, str]]:
    """(gate, verdict, sentence) of everything the gates and the replay had to say, worst first."""
    found: list[tuple[str, Verdict | None]] = []
    if view.gate:
        gate = view.gate
        found += [("quality", gate.quality), ("serving", gate.serving), ("safety", gate.safety)]
        found.append(("provenance", gate.provenance))
    judged = [(name, one.value, reason) for name, one in found if one for reason in one.reasons]
    return sorted(judged, key=lambda one: -one[1].severity)


class Tile(NamedTuple):
    """A summary tile: its verdict, its most telling part large, the rest small."""

    label: str
    word: str
    kind: str
    lead: str
    rest: tuple[str, ...]


def tiles(view: ReleaseView) -> list[Tile]:
    """The summary: quality, serving, safety, provenance, privacy, rollback, canary, bundle."""
    judged = [
        quality_row(view),
        serving_row(view),
        safety_row(view),
        provenance_row(view),
        privacy_row(view),
        rollback_row(view),
        canary_row(view),
        bundle_row(view)._replace(parts=bundle_row(view).parts[:2]),
    ]
    return [_tile(row) for row in judged]


_REST = 5
"""Small lines of a tile; tiles of a row are as high as its highest."""


def _tile(row: Row) -> Tile:
    lead, *rest = row.parts
    if len(rest) > _REST:
        rest = [*rest[: _REST - 1], f"and {len(rest) - _REST + 1} more, below"]
    word = NOT_REACHED.upper() if lead == NOT_REACHED else row.word
    return Tile(row.label, word, row.value or "none", lead, tuple(rest))


class Stage(NamedTuple):
    """A canary stage: who took part (widths in percent of the largest stage), what was decided, on what."""

    name: str
    decision: str
    kind: str
    facts: str
    stable: int
    canary: int
    stable_width: float
    canary_width: float
    reasons: tuple[str, ...]
    forests: tuple[Forest, ...]
    tracks: tuple[Track, ...]


_DECISIONS = {"promote": Value.PASS, "continue": Value.INCONCLUSIVE, "hold": Value.INCONCLUSIVE}


def _stages(view: ReleaseView) -> tuple[Stage, ...]:
    stages = view.canary.stages if view.canary else ()
    top = max([max(stage.stable_sessions, stage.canary_sessions) for stage in stages] or [1]) or 1
    return tuple(
        Stage(
            name=stage.stage,
            decision=stage.decision.replace("_", " "),
            kind=_DECISIONS.get(stage.decision, Value.FAIL),
            facts=f"began {moment(stage.started_at)}, took {duration(stage.duration_s)}, table {stage.route_version}",
            stable=stage.stable_sessions,
            canary=stage.canary_sessions,
            stable_width=round(100 * stage.stable_sessions / top, 3),
            canary_width=round(100 * stage.canary_sessions / top, 3),
            reasons=stage.reasons,
            forests=stage_forests(stage.evidence, view.policy.canary),
            tracks=tracks(
                stage.looks,
                alpha=view.policy.canary.alpha,
                plan=view.policy.canary,
                evidence=stage.evidence,
            ),
        )
        for stage in stages
    )


def _header_facts(view: ReleaseView) -> tuple[Fact, ...]:
    facts = [
        Fact("bundle", view.bundle, True) if view.bundle else Fact("bundle", "not reached"),
        Fact("evidence", view.evidence.digest(), True) if view.evidence else Fact("evidence", "not reached"),
        Fact("release", view.release, True),
        Fact("instead of", plain(view.stable_version or "nothing: first release")),
        Fact("written", moment(view.now)),
    ]
    return (*facts, Fact("took", duration(view.took_s))) if view.took_s is not None else tuple(facts)


class Cost(NamedTuple):
    """A figure of speed or size: stable, candidate, what it is held to."""

    label: str
    stable: str
    candidate: str
    budget: str
    over: bool


def _costs(view: ReleaseView) -> tuple[Cost, ...]:
    if view.timing is None:
        return ()
    budget, used = view.policy.serving, _used(view.timing)
    held = (budget.rtf, budget.peak_memory_mb, budget.cost_usd_per_audio_hour)
    found = [
        Cost(
            label,
            "" if stable is None else f"{stable:.{decimals}f}",
            f"{candidate:.{decimals}f}",
            f"{bound:.{decimals}f}",
            candidate > bound,
        )
        for (label, decimals, stable, candidate), bound in zip(used, held, strict=True)
    ]
    found += _played(view.timing, budget)
    if view.replay:
        found.append(Cost("cold start, ms", "", milliseconds(view.replay.cold_start_ms).removesuffix(" ms"), "", False))
    return tuple(found)


def _played(timing: TimingReport, budget: ServingGate) -> list[Cost]:
    """What only answers that are played or that end a turn have."""
    found = []
    for label, factor, decimals, stable, candidate, bound in (
        ("answers whose playback starves, %", 100, 1,
         timing.stable_underrun_share, timing.underrun_share, budget.underrun_share),
        ("cost, USD an answer", 1, 6, timing.stable_cost_usd_per_answer, timing.cost_usd_per_answer, None),
    ):  # fmt: skip
        if candidate is not None:
            shown = ["" if one is None else f"{factor * one:.{decimals}f}" for one in (stable, candidate, bound)]
            found.append(Cost(label, shown[0], shown[1], shown[2], bound is not None and candidate > bound))
    return found


def _used(timing: TimingReport) -> tuple[tuple[str, int, float | None, float], ...]:
    """(figure, decimals, stable, candidate)"""
    return (
        ("real-time factor", 3, timing.stable_rtf, timing.rtf),
        ("peak memory, MB", 0, timing.stable_peak_memory_mb, timing.peak_memory_mb),
        ("cost, USD an audio hour", 4, timing.stable_cost_usd_per_audio_hour, timing.cost_usd_per_audio_hour),
    )


def _contract(view: ReleaseView) -> tuple[Fact, ...]:
    if view.entry is None:
        return ()
    fields = view.entry.model_dump(mode="json")
    envelope = fields.pop("resource_envelope")
    return flat({**fields, "resource envelope": envelope})
