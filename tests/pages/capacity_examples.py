"""Capacity plans that pages are drawn of."""

from __future__ import annotations

from contracts.capacity import Assumed, CapacityPlan, Load, Schedule, Stage
from contracts.digest import digest_of

ASSUMED = Assumed()


def _stages(hear_ms: float, begins_ms: float) -> tuple[Stage, ...]:
    heard_ms = max(360.0, begins_ms + hear_ms)
    rows = (
        ("capture of a frame", False, 0.0, 20.0),
        ("network, up", False, 20.0, 60.0),
        ("wait for the end of the turn", False, 60.0, 360.0),
        ("hearing", True, begins_ms, begins_ms + hear_ms),
        ("retrieval", True, heard_ms, heard_ms + 0.2),
        ("first sentence of voice", True, heard_ms + 0.2, heard_ms + 3),
        ("network, down", False, heard_ms + 3, heard_ms + 43),
        ("playback buffer", False, heard_ms + 43, heard_ms + 83),
    )
    return tuple(
        Stage(
            name=name, measured=measured, p50_ms=end - start, p95_ms=1.5 * (end - start), starts_ms=start, ends_ms=end
        )
        for name, measured, start, end in rows
    )


def _schedule(name: str, hear_ms: float, begins_ms: float, *, in_use: bool) -> Schedule:
    stages = _stages(hear_ms, begins_ms)
    p95_ms = stages[-1].ends_ms * 1.2
    return Schedule(
        name=name, in_use=in_use, stages=stages, p50_ms=stages[-1].ends_ms, p95_ms=p95_ms, headroom_ms=700 - p95_ms,
        longest_endpoint_ms=max(0.0, 1000 - p95_ms) or None,
    )  # fmt: skip


def _plan(hear_ms: float, sessions: int, family: str = "assistant") -> CapacityPlan:
    serial = _schedule("one stage after another", hear_ms, 360.0, in_use=False)
    overlapped = _schedule("hearing while the end is waited for", hear_ms, 260.0, in_use=True)
    loads = tuple(
        Load(sessions=count, busy=(count - 1) * 0.05, p95_ms=overlapped.p95_ms + 12 * (count - 1))
        for count in range(1, 19)
    )
    return CapacityPlan(
        family=family, version="v2", payload_digest=digest_of({}), budget_ms=700, turns=48, assumed=ASSUMED,
        schedules=(serial, overlapped), compute_s=0.36, turn_s=7.2, loads=loads, sessions_per_core=sessions,
    )  # fmt: skip


def fits() -> CapacityPlan:
    """Hearing is hidden, and half a dozen sessions are carried."""
    return _plan(90.0, 14)


def late() -> CapacityPlan:
    """A slow recogniser: not even one session."""
    return _plan(900.0, 0)


def hostile() -> CapacityPlan:
    """A name that wants to be markup."""
    return _plan(90.0, 14, family="<script>alert(1)</script>\u202e")


EXAMPLES = {"fits": fits, "late": late}
