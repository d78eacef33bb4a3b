"""Why a release did not go on: what stopped it, by how much, on whom, what would settle it, what to do next.

Boundary: no I/O. The numbers are those of the documents; the sentences of a verdict are kept as the gate wrote them.
Source: pages.md (a stop reads the same way); statistics U5; release-algorithm R4.2, R7.3, R7.4, R8.1.
"""

from __future__ import annotations

from typing import NamedTuple

from contracts.reports import Comparison, SliceEvidence
from contracts.verdict import Value, Verdict
from pages.comparing import canary_scale, change, difference, limit, marks, subject
from pages.figures import Scale, many, plain, scale, slice_name
from pages.reading import approve_line, unwaived
from pages.view import ReleaseView


class Stop(NamedTuple):
    """The five answers of a stop, each a sentence without final full stop; "" where there is nothing to say."""

    what: str
    amount: str
    whom: str
    settle: str
    next_step: str

    def answers(self) -> tuple[tuple[str, str], ...]:
        """(question, answer) for each that has one."""
        labels = ("stopped by", "by how much", "on whom", "what settles", "do next")
        return tuple((label, text) for label, text in zip(labels, self, strict=True) if text)


_FINE = (": within", ": not worse")
"""How a gate's reason ends that did not stop anything (evalpacks/gates.py)."""


def stop_of(view: ReleaseView) -> Stop:
    """The answers for a release that is not promoted, from the document that stopped it."""
    if view.outcome in ("waiting", "held", "rejected"):
        return _undecided(view)
    if view.stopped_at == "canary" and view.canary:
        return _canary_stop(view)
    if view.stopped_at == "stage" and view.replay:
        bad = [check for check in view.replay.checks if check.verdict.value is not Value.PASS]
        reasons = [f"{plain(check.name)} ({plain(check.clause)}): {_reasons(check.verdict)}" for check in bad]
        return _by_verdict("; ".join(reasons), view.replay.verdict, "every request to this bundle", view)
    if view.gate:
        return _gate_stop(view)
    return _event_stop(view)


def _gate_stop(view: ReleaseView) -> Stop:
    gate = view.gate
    compared = unwaived(view)
    if compared and gate and gate.quality.value is gate.verdict.value is compared[0].verdict.value:
        return _quality_stop(compared, view)
    named = [("quality", gate.quality), ("serving", gate.serving), ("safety", gate.safety)] if gate else []
    named += [("provenance", gate.provenance)] if gate and gate.provenance else []
    bad = sorted((pair for pair in named if pair[1].value is not Value.PASS), key=lambda pair: -pair[1].value.severity)
    if not bad or gate is None:
        return _event_stop(view)
    decisive = [pair for pair in bad if pair[1].value is gate.verdict.value]
    reasons = "; ".join(f"{name}: {_sentences(_against(verdict))}" for name, verdict in decisive)
    return _by_verdict(reasons, gate.verdict, "every user of the model", view)


def _against(verdict: Verdict) -> tuple[str, ...]:
    """The reasons of a verdict without those that speak for the candidate."""
    return tuple(one for one in verdict.reasons if not one.endswith(_FINE)) or verdict.reasons


def _quality_stop(compared: list[Comparison], view: ReleaseView) -> Stop:
    first = compared[0]
    others = [one for one in compared[1:] if one.verdict.value is first.verdict.value]
    metric = scale(first.metric)
    what = f"{subject(first)}: {first.verdict.value.upper()}"
    if others:
        what += f", and {many(len(others), 'other comparison')} with it"
    figures = [change(first), f"{difference(first)} {metric.points}".strip() if difference(first) else "", limit(first)]
    marked = f" ({', '.join(marks(first))})" if marks(first) else ""
    support = f"{many(first.speakers, 'speaker')}, {many(first.utterances, 'utterance')}"
    return Stop(
        what,
        ", ".join(filter(None, figures)),
        f"{plain(first.slice)}{marked}: {support}",
        _settle(first.verdict),
        _next_step(first.verdict.value, view),
    )


def _canary_stop(view: ReleaseView) -> Stop:
    canary = view.canary
    if canary is None or not canary.stages:
        return _event_stop(view)
    last = next((stage for stage in reversed(canary.stages) if stage.decision != "promote"), canary.stages[-1])
    bad = [one for one in last.evidence if one.state == "worse"]
    amount = "; ".join(_evidence_figures(one, canary_scale(one.metric, view.policy.canary)) for one in bad)
    whom = ", ".join(dict.fromkeys(slice_name(one.slice) for one in bad))
    sessions = f"{many(last.canary_sessions, 'canary session')} of stage {last.stage}"
    what = f"canary {last.decision.replace('_', ' ')} in stage {last.stage}: " + _sentences(last.reasons)
    return Stop(
        what,
        amount,
        f"{whom}: {sessions}" if whom else sessions,
        "the evidence is enough; more traffic would only hurt" if bad else "telemetry of more sessions, on every slice",
        _next_step(canary.verdict.value, view) if bad else f"send traffic (soundcheck traffic), then {_again(view)}",
    )


def _evidence_figures(one: SliceEvidence, metric: Scale) -> str:
    rates = f"{metric.label} {metric.value(one.stable_rate)} -> {metric.value(one.canary_rate)}"
    bounds = f"{metric.difference(one.estimate)} {metric.interval(one.lower, one.upper)}".strip()
    margin = "" if one.margin is None else f", margin {metric.number(one.margin)}"
    return f"{rates} on {slice_name(one.slice)}" + (f" ({bounds}{margin})" if one.estimate is not None else "")


def _undecided(view: ReleaseView) -> Stop:
    if view.outcome == "waiting" and view.evidence is None:
        return Stop("", "", "", "", f"{_again(view)} goes on where it stopped")
    if view.outcome == "waiting":
        needed = many(view.policy.approvals.quorum, "approval")
        return Stop("", "", "", f"{needed} of this evidence", approve_line(view))
    wanted = "reject" if view.outcome == "rejected" else "hold"
    notes = [plain(one.note) for one in view.approvals if one.decision == wanted and one.note]
    what = "a person's decision" if notes else "no approval of this evidence in time (R8.1)"
    if view.outcome == "held":
        again = f"soundcheck release {plain(view.family)} --candidate DIR asks again, with the evidence kept"
        return Stop(what, "", "", "; ".join(notes), again)
    return Stop(what, "", "", "; ".join(notes), "a rejection is final for this evidence: release a new version")


def _event_stop(view: ReleaseView) -> Stop:
    failed = [event for event in view.events if event.outcome == "fail"]
    data = failed[-1].data if failed else {}
    reasons = data.get("reasons", data.get("reason", "no reason is in the ledger"))
    sentences = [plain(one) for one in reasons] if isinstance(reasons, list) else [plain(reasons)]
    step = plain(view.stopped_at or (failed[-1].step if failed else "a step that is not named"))
    status = f" (exit status {plain(data['exit_status'])})" if "exit_status" in data else ""
    next_step = plain(data.get("next_step") or f"correct the candidate, then {_again(view)}")
    got, where, expected = (plain(data.get(name, "")) for name in ("got", "where", "expected"))
    place = f" ({where})" if where else ""
    return Stop(f"{step}{status}: " + "; ".join(sentences) + place, got, "", expected, next_step)


def _by_verdict(what: str, verdict: Verdict, whom: str, view: ReleaseView) -> Stop:
    return Stop(what, "", whom, _settle(verdict), _next_step(verdict.value, view))


def _settle(verdict: Verdict) -> str:
    if verdict.value is Value.FAIL:
        return "settled: the evidence is enough, more of it would not help"
    return _reasons(verdict)


def _next_step(value: Value, view: ReleaseView) -> str:
    if value is Value.INCONCLUSIVE:
        return f"add speakers to the slices that are named (or have them waived, signed), then {_again(view)}"
    if value is Value.ERROR:
        return f"mend what failed, then {_again(view)}"
    return f"train a better candidate under a new version, then {_again(view)}"


def _again(view: ReleaseView) -> str:
    return f"soundcheck release {plain(view.family)} --candidate DIR"


def _reasons(verdict: Verdict) -> str:
    return _sentences(verdict.reasons)


def _sentences(reasons: tuple[str, ...]) -> str:
    return "; ".join(plain(reason) for reason in reasons) or "no reason was given"
