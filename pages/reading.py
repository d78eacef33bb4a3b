"""What a release says, in words: its headline, its rows, its order of slices, its commands.

Boundary: no I/O, no clock. Verdicts are read from documents, never made here; a row whose document is missing is "not
reached", a row whose evidence is empty is Inconclusive (R4.2).
Invariants: terminal, approval form, step artifacts and report all take their words from here, so they agree.
Source: pages.md; release-algorithm R4.2, R6.1, R6.5, R6.6.
"""

from __future__ import annotations

import shlex
from typing import NamedTuple

from contracts.approval import Approval, SignedWaiver
from contracts.digest import Digest, short
from contracts.policy import ServingGate
from contracts.reports import Comparison, SafetyReport, TimingReport
from contracts.verdict import Value, Verdict, worst
from pages.comparing import change, compared_on, difference, limit, subject, worst_first
from pages.figures import (
    clock,
    duration,
    key_hint,
    many,
    milliseconds,
    moment,
    plain,
    scale,
    size,
    slice_name,
)
from pages.view import ReleaseView

NOT_REACHED = "not reached"


class Row(NamedTuple):
    """One line of a summary: its label, its verdict (None: not reached, or not a verdict), its parts."""

    label: str
    value: Value | None
    parts: tuple[str, ...]

    @property
    def word(self) -> str:
        """The verdict in capitals, "" without one."""
        return self.value.upper() if self.value else ""


class Command(NamedTuple):
    """Something to do: why, and the command for it."""

    purpose: str
    line: str


_OVERALL_SHOWN = 5


def quality_row(view: ReleaseView) -> Row:
    """Overall differences, those that do not pass and WER first, and the worst slice."""
    if view.score is None:
        return Row("quality", None, (NOT_REACHED,))
    compared = view.score.comparisons
    several = len({(one.metric, one.baseline) for one in compared}) > 1
    overall = sorted(
        (one for one in compared if one.slice == "overall"),
        key=lambda one: (-one.verdict.value.severity, one.metric != "wer", one.baseline == "parent"),
    )
    parts = [_overall_part(one, packs=len(view.score.packs)) for one in overall[:_OVERALL_SHOWN]]
    if hidden := overall[_OVERALL_SHOWN:]:
        parts.append(f"{many(len(hidden), 'more overall rate')}, worst {hidden[0].verdict.value.upper()}")
    if slices := worst_first(one for one in compared if one.slice != "overall"):
        one = slices[0]
        figures = ", ".join(filter(None, (difference(one) or change(one), limit(one))))
        of = f", {compared_on(one)}" if several else ""
        worse = one.verdict.value.severity > max((whole.verdict.value.severity for whole in overall), default=-1)
        parts.insert(0 if worse else len(parts), f"worst slice {slice_name(one.slice)}{of}  {figures}")
    value = view.gate.quality.value if view.gate else worst(one.verdict for one in compared).value
    return Row("quality", value, tuple(parts) or ("no comparison was made",))


def _overall_part(one: Comparison, *, packs: int) -> str:
    name = scale(one.metric).label + (f" on {plain(one.pack)}" if packs > 1 else "")
    against = " against full precision" if one.baseline == "parent" else ""
    detail = difference(one) or limit(one)
    return f"{name}{against} {change(one)}" + (f"  ({detail})" if detail else "")


def speed_parts(timing: TimingReport, budget: ServingGate) -> tuple[str, ...]:
    """Speed, memory and cost, each with its budget where the text has room for it."""
    parts = []
    first = (
        ("first partial", timing.first_partial_ms, budget.first_partial_p95_ms),
        ("first stable", timing.first_stable_ms, budget.first_stable_p95_ms),
        ("first audio", timing.first_audio_ms, budget.first_audio_p95_ms),
    )
    for name, found, held in first:
        if found:
            bound = f" (budget {held:.0f})" if held else ""
            parts.append(f"{name} p95 {milliseconds(found.p95)}{bound}")
    if timing.underrun_share is not None:
        bound = f" (budget {budget.underrun_share:.1%})" if budget.underrun_share is not None else ""
        parts.append(f"playback starves in {timing.underrun_share:.1%}{bound}")
    parts += [
        f"final p95 {milliseconds(timing.final_ms.p95)} (budget {budget.final_p95_ms:.0f})",
        f"RTF {timing.rtf:.2g}",
        f"peak {timing.peak_memory_mb:.0f} MB",
        f"{timing.cost_usd_per_audio_hour:.2g} USD/audio hour",
    ]
    return tuple(parts)


def serving_row(view: ReleaseView) -> Row:
    """Speed, memory and cost against their budgets."""
    if view.timing is None:
        return Row("serving", None, (NOT_REACHED,))
    known = [view.gate.serving] if view.gate else []
    known += [check.verdict for check in view.replay.checks if check.clause == "R6.3"] if view.replay else []
    return Row("serving", worst(known).value if known else None, speed_parts(view.timing, view.policy.serving))


def safety_row(view: ReleaseView) -> Row:
    """Words heard where nobody spoke, redaction leaks; of models without words what else was planted (R4.8)."""
    if view.safety is None:
        return Row("safety", None, (NOT_REACHED,))
    value = view.gate.safety.value if view.gate else view.safety.verdict.value
    parts = worded(view.safety) or planted(view.safety)
    return Row("safety", value, parts or ("nothing was planted",))


def worded(safety: SafetyReport) -> tuple[str, ...]:
    """What a model that turns sound into words did with clips without speech and with private strings."""
    parts = []
    if safety.clips:
        parts.append(f"words on {safety.clips_with_words} of {safety.clips} clips without speech")
    if safety.redaction_planted:
        parts.append(f"redaction leaked {safety.redaction_leaked} of {safety.redaction_planted} private strings")
    return tuple(parts)


def planted(safety: SafetyReport) -> tuple[str, ...]:
    """One sentence a planted check, those that went wrong first."""
    ordered = sorted(safety.checks, key=lambda check: not check.broken)
    return tuple(f"{plain(check.name)}: {check.broken} of {check.planted} went wrong" for check in ordered)


def provenance_row(view: ReleaseView) -> Row:
    """Leakage and work tree (R1.2, R1.3, R1.5)."""
    if view.gate is None or view.gate.provenance is None:
        return Row("provenance", None, (NOT_REACHED,))
    return Row("provenance", view.gate.provenance.value, tuple(map(plain, view.gate.provenance.reasons)))


def privacy_row(view: ReleaseView) -> Row:
    """Planted strings found in logs, traces, metrics and reports (R6.6)."""
    if view.replay is None:
        return Row("privacy", None, (NOT_REACHED,))
    planted, found = view.replay.planted_strings, view.replay.planted_found
    value = Value.FAIL if found else Value.PASS if planted else Value.INCONCLUSIVE
    return Row("privacy", value, (f"{found} of {planted} planted strings found",))


def target(view: ReleaseView) -> str:
    """The bundle a rollback goes to: `v1 b81e90c4d2aa`."""
    if view.stable_bundle is None:
        return "none: first release"
    return f"{plain(view.stable_version or 'version unknown')} {short(view.stable_bundle)}"


def rollback_verdict(view: ReleaseView) -> Value | None:
    """Whether the way back was proved: rehearsed where there is one, golden outputs equal (R6.1, R6.5)."""
    replay = view.replay
    if replay is None:
        return None
    checks = [check.verdict for check in replay.checks if check.clause in ("R6.1", "R6.5")]
    proved = replay.golden_expected > 0 and (replay.rehearsal_s is not None or view.stable_bundle is None)
    return worst([*checks, Verdict(value=Value.PASS if proved else Value.INCONCLUSIVE)]).value


def rollback_row(view: ReleaseView) -> Row:
    """The rehearsal, the golden outputs and the target."""
    if view.replay is None:
        return Row("rollback", None, (NOT_REACHED,))
    rehearsed = view.replay.rehearsal_s
    if view.stable_bundle is None:
        said = "nothing to go back to"
    else:
        said = "not rehearsed" if rehearsed is None else f"rehearsed in {duration(rehearsed)}"
    equal = view.replay.golden_equal == view.replay.golden_expected
    golden = (
        f"golden outputs {'equal' if equal else 'differ'} ({view.replay.golden_equal} of {view.replay.golden_expected})"
    )
    return Row("rollback", rollback_verdict(view), (f"{said}, {golden}", f"target {target(view)}"))


def canary_row(view: ReleaseView) -> Row:
    """The canary's stages and their decisions."""
    if view.canary is None:
        return Row("canary", None, (NOT_REACHED,))
    parts = tuple(
        f"{stage.stage} {stage.decision.replace('_', ' ')} ({many(stage.canary_sessions, 'session')})"
        for stage in view.canary.stages
    )
    return Row("canary", view.canary.verdict.value, parts or ("no stage was run",))


def bundle_row(view: ReleaseView) -> Row:
    """The bundle's name, its size and the command that restores it."""
    if view.bundle is None:
        return Row("bundle", None, (NOT_REACHED,))
    parts = [f"sha256 {short(view.bundle)}"]
    if view.manifest:
        new = "" if view.new_bytes is None else f", {size(view.new_bytes)} new"
        parts.append(size(bundle_bytes(view)) + new)
    parts.append(f"restore with: soundcheck restore {short(view.bundle)} --into DIR")
    return Row("bundle", None, tuple(parts))


def bundle_bytes(view: ReleaseView) -> int:
    """Bytes of a bundle's distinct blobs (R5.2)."""
    if view.manifest is None:
        return 0
    return sum({entry.sha256: entry.size for entry in view.manifest.files.values()}.values())


def rows(view: ReleaseView) -> tuple[Row, ...]:
    """The verdicts of a release, in the order people ask for them; provenance where its gate has spoken."""
    provenance = provenance_row(view)
    return (
        quality_row(view),
        serving_row(view),
        safety_row(view),
        *([provenance] if provenance.value else []),
        privacy_row(view),
        rollback_row(view),
        canary_row(view),
    )


def signature(approval: Approval) -> str:
    """Who decided, and how sure that is (R8.2)."""
    if approval.mode == "signed":
        return f"{plain(approval.approver)} ({key_hint(approval.key_id)})"
    return f"{plain(approval.approver)} (unsigned, typed into the form)"


def unwaived(view: ReleaseView) -> list[Comparison]:
    """The comparisons that nobody accepted by name, worst first."""
    accepted = {(one.pack, one.slice, one.metric, one.baseline) for one in view.waivers}
    compared = view.score.comparisons if view.score else ()
    return worst_first(one for one in compared if (one.pack, one.slice, one.metric, one.baseline) not in accepted)


class Waived(NamedTuple):
    """One comparison that a person accepted by name (R4.2)."""

    what: str
    who: str
    at: str
    reason: str
    digest: Digest


def waived(view: ReleaseView) -> tuple[Waived, ...]:
    """Every waiver that the gate went on by; one whose document is not here is named by its digest alone."""
    known = {one.digest(): one for one in view.waivers}
    named = view.gate.waivers if view.gate else ()
    return tuple(_waived(digest, known.get(digest)) for digest in dict.fromkeys((*named, *known)))


def _waived(digest: Digest, one: SignedWaiver | None) -> Waived:
    if one is None:
        return Waived("a comparison that is not named here", "", "", "the waiver's document was not read", digest)
    return Waived(
        subject(one), f"{plain(one.approver)} ({key_hint(one.key_id)})", moment(one.at), plain(one.reason), digest
    )


def reviews(view: ReleaseView) -> tuple[tuple[str, bool], ...]:
    """Slices that a person must look at (R4.6), and whether a decision says that somebody did."""
    done = {name for one in view.approvals for name in one.reviewed_slices}
    return tuple((plain(name), name in done) for name in (view.gate.manual_review if view.gate else ()))


def exchange(view: ReleaseView, most: int) -> tuple[str, ...]:
    """What the release costs and saves, at most so many sentences of the gate: the first ones say the most."""
    said = tuple(plain(sentence) for sentence in view.gate.exchange) if view.gate else ()
    rest = len(said) - most
    return said if rest <= 1 else (*said[:most], f"and {many(rest, 'more sentence')} in the release report")


def policy_changes(view: ReleaseView) -> tuple[str, ...]:
    """How the policy differs from the last release's, as the gate saw it (R4.7)."""
    return (view.gate.policy_changes if view.gate else ()) or view.policy_changes


def promoted_at(view: ReleaseView) -> str:
    """When the pointer moved, UTC; the time of writing where the event is not in the view."""
    moves = [event.at for event in view.events if event.step == "promote" and event.outcome == "complete"]
    return moves[-1] if moves else view.now


def headline(view: ReleaseView) -> str:
    """The release's outcome in one clause."""
    decided = [signature(one) for one in view.approvals if one.decision == "promote"]
    if view.outcome == "promoted":
        canary = "first release" if view.stable_bundle is None else "canary passed"
        by = f"approved by {' and '.join(decided)}" if decided else "no approval recorded"
        return f"{canary}, {by}, promoted {clock(promoted_at(view))}"
    if view.outcome == "waiting":
        done = [plain(event.step).replace("_", " ") for event in view.events if event.outcome == "complete"]
        return "waits for approval" if view.evidence else f"not finished, last step {done[-1] if done else 'none'}"
    if view.outcome == "stopped":
        return f"stopped at {plain(view.stopped_at or 'a step that is not named')}, stable is unchanged"
    wanted = "reject" if view.outcome == "rejected" else "hold"
    refused = [signature(one) for one in view.approvals if one.decision == wanted]
    return (
        f"{view.outcome}{' by ' + ' and '.join(refused) if refused else ', no approval was given'}, stable is unchanged"
    )


def approve_line(view: ReleaseView, decision: str = "promote") -> str:
    """The command that decides about this evidence."""
    evidence = view.evidence.digest() if view.evidence else "EVIDENCE"
    return f"soundcheck approve {plain(view.family)} --key KEY --evidence {evidence} --decision {decision}"


_WAIVABLE = 6
"""Waiver commands that a page lists: a release with more open comparisons needs evidence, not waivers."""


def waive_line(family: str, one: Comparison) -> str:
    """The command that accepts one Inconclusive comparison (R4.2)."""
    against = " --baseline parent" if one.baseline == "parent" else ""
    place = f"--pack {shlex.quote(plain(one.pack))} --slice {shlex.quote(plain(one.slice))} --metric {one.metric}"
    return f"soundcheck waive {family} --key KEY {place}{against} --reason TEXT"


def commands(view: ReleaseView) -> tuple[Command, ...]:
    """What can be done now: actions are commands, because identity is a signature (pages.md)."""
    family = plain(view.family)
    named: list[Command] = []
    if view.outcome in ("waiting", "held") and view.evidence:
        named += [
            Command(purpose, approve_line(view, decision))
            for purpose, decision in (("promote it", "promote"), ("ask again later", "hold"), ("reject it", "reject"))
        ]
    if view.outcome == "promoted" and view.stable_bundle:
        named.append(Command("take it back", f"soundcheck rollback {family} --key KEY --reason TEXT"))
    if view.stopped_at == "gate" and view.gate and view.gate.verdict.value is Value.INCONCLUSIVE:
        open_ones = [one for one in unwaived(view) if one.verdict.value is Value.INCONCLUSIVE]
        named += [Command(f"accept {subject(one)}", waive_line(family, one)) for one in open_ones[:_WAIVABLE]]
    if view.outcome in ("stopped", "rejected"):
        named.append(Command("release a corrected candidate", f"soundcheck release {family} --candidate DIR"))
    if view.bundle:
        named.append(Command("restore it anywhere", f"soundcheck restore {view.bundle} --into DIR"))
        named.append(Command("verify it", f"soundcheck verify {view.bundle}"))
    named.append(Command("see where the family stands", f"soundcheck status {family}"))
    return tuple(named)
