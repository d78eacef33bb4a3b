"""A canary that held and waits for approval: it has traffic, so it is looked at until it is promoted or taken off.

Boundary: looks through canary_watch.py; writes the canary's end into the ledger, and moves the pointer after that.
Invariants: harm takes the canary off at once, whatever people are about to answer (B7); from then on the evidence they
were shown is not approved (approve.py), and the release is stopped by its canary; a release whose approval ended
otherwise leaves no traffic that nobody watches. Where the watching process dies its heartbeats end, and unwatched.py
takes the canary off.
Source: release-algorithm R7.1, R7.6, R8.1, B7; statistics U6.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import JsonValue

from contracts.errors import SoundcheckError
from contracts.reports import CanaryReport
from contracts.verdict import Value
from operations import pointer
from operations.canary import abort, decided, report_of, result_of, stopped
from operations.canary_route import Canary, began, withdraw
from operations.canary_watch import Seen, Tell, Watch
from operations.context import Context, put
from operations.gate import Stopped
from registry.documents import get_document


def hold(context: Context, canary: Canary, over: Callable[[], bool], tell: Tell = lambda _: None) -> Stopped | None:
    """Look on until `over`; what stopped the canary, None where it held, was promoted or was taken off by others.

    Args:
        over: asked before each look whether nobody waits any more.
        tell: shown what is known, after each look.
    """
    if known := ended(context, canary):
        return stopped(context, canary, known)
    if not is_routed(context, canary):
        return None
    watch = Watch(context, canary, canary.stages[-1], began(context, canary), tell, held=True)
    seen = watch.until_harm(over)
    if seen is None or not is_routed(context, canary):
        return None
    return stopped(context, canary, _end(context, canary, watch, seen))


def is_routed(context: Context, canary: Canary) -> bool:
    """Whether the family's route table has this canary."""
    table = pointer.current(context, canary.family).table
    return table is not None and table.canary is not None and table.canary.release == canary.release


def is_asked_about(context: Context, canary: Canary) -> bool:
    """Whether its release has asked for its approval since it held."""
    asked = False
    for event in context.ledger(canary.family).events():
        if event.release == canary.release and event.outcome == "complete":
            asked = event.step == "request_approval" or (asked and event.step != "canary")
    return asked


def ended(context: Context, canary: Canary) -> CanaryReport | None:
    """The report by which the canary was stopped, None where it holds."""
    done = [event for event in canary.events(context, "canary") if event.outcome == "complete"]
    if not done or done[-1].data["decision"] == "promote":
        return None
    return get_document(context.store, CanaryReport, done[-1].outputs["canary_report"])


def _end(context: Context, canary: Canary, watch: Watch, seen: Seen) -> CanaryReport:
    """Write down that the last stage, as it stands now, ended in a rollback."""
    known = decided(context, canary)
    earlier = known.stages[:-1] if known else ()
    last = result_of(context, canary, canary.stages[-1], began(context, canary), watch, seen)
    reasons = tuple(f"while its approval was awaited: {reason}" for reason in last.reasons)
    report = report_of(canary, (*earlier, last.model_copy(update={"reasons": reasons})))
    (digest,) = put(context, report)
    facts: dict[str, JsonValue] = {
        "decision": report.decision, "verdict": report.verdict.value.value, "reasons": list(report.verdict.reasons[:5]),
        "close": seen.close,
    }  # fmt: skip
    canary.append(context, "canary", "complete", {"canary_report": digest}, facts)
    return report


def leave(context: Context, canary: Canary, why: SoundcheckError) -> None:
    """Take the canary off, for its approval has ended and nobody watches it any more.

    After a rejection the evidence stays what it was, and rejected; after anything else the canary begins anew.
    """
    if not is_routed(context, canary):
        return
    if isinstance(why, Stopped) and why.verdict.value == Value.FAIL:
        withdraw(context, canary.family, f"canary: {why.what}", release=canary.release)
    else:
        abort(context, canary.family, actor=f"the release ({why.what})")
