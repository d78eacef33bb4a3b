"""Who is hurt: scope and blast radius of an incident.

Boundary: pure; a prepared table of telemetry in.
Invariants: a request is harmed where the server failed it, it was slow, kept changing, its answer had a private run, or
the user said so (corrected, interrupted, left, heard a gap, wrote to support); groups under `smallest` sessions are
counted and not shown; an error code that the API does not have is `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import get_args

import numpy as np
import numpy.typing as npt

from contracts.digest import Digest
from contracts.incident import BundleImpact, Impact, SliceImpact, Spread
from contracts.serving_api import ErrorCode
from monitoring.incident.naming import LABELS, OVERALL
from monitoring.incident.tallies import EVENTS, UNLABELLED, Codes, Floats, Table, column, small_groups

KNOWN_ERRORS = frozenset({*get_args(ErrorCode), "client_gone", "cancelled", "unread"})
SHOWN = 20
"""Slices of a packet, the most harmed first."""


def impact(
    table: Table, name: Callable[[str, str], str], *, smallest: int, allowed: Mapping[str, float],
    bundles: Collection[Digest],
) -> Impact:  # fmt: skip
    """Scope and blast radius of the window.

    Args:
        name: writes a slice (naming.Names.slice).
        smallest: sessions below which a group is not shown.
        allowed: by objective (`availability`, `latency`), the share of requests that may be bad.
        bundles: those that the family has packaged; a row may say anything.
    """
    now = table.now()
    latency = column(table.rows, "latency_ms")
    whole = _slice(table, latency, now, OVERALL)
    parts: list[SliceImpact] = []
    suppressed = 0
    for label in LABELS:
        codes, values = table.labels[label]
        if len(values) == 1:
            continue  # that is the whole
        sessions = _sessions(table, codes, now, len(values))
        left_out = small_groups(sessions, smallest)
        suppressed += len(left_out)
        for place, value in enumerate(values):
            if sessions[place] and place not in left_out and value not in UNLABELLED:
                parts.append(_slice(table, latency, now & (codes == place), name(label, value)))
    parts.sort(key=lambda one: (-_share(one), -one.requests, one.slice))
    by_bundle, small = _bundles(table, now, bundles, smallest)
    before = _spread(latency[table.side == 0])
    return Impact(
        whole=whole, slices=tuple(parts[:SHOWN]), bundles=by_bundle, harms=_harms(table, now),
        errors=_errors(table, now), burn=_burn(table, now, allowed), before=before,
        suppressed_groups=suppressed + small,
    )  # fmt: skip


def _share(one: SliceImpact) -> float:
    return one.harmed_requests / one.requests if one.requests else 0.0


def _slice(table: Table, latency: Floats, inside: npt.NDArray[np.bool_], name: str) -> SliceImpact:
    harmed = inside & table.harmed
    return SliceImpact(
        slice=name, requests=int(inside.sum()), sessions=len(np.unique(table.session[inside])),
        harmed_requests=int(harmed.sum()), harmed_sessions=len(np.unique(table.session[harmed])),
        latency_ms=_spread(latency[inside]),
    )  # fmt: skip


def _sessions(table: Table, codes: Codes, now: npt.NDArray[np.bool_], places: int) -> Codes:
    known = now & (codes >= 0)
    pairs = np.unique(codes[known] * (int(table.session.max(initial=0)) + 1) + table.session[known])
    owners = pairs // (int(table.session.max(initial=0)) + 1)
    return np.bincount(owners, minlength=places).astype(np.int64)


def _spread(latency: Floats) -> Spread | None:
    known = latency[~np.isnan(latency)]
    if not len(known):
        return None
    p50, p95, p99 = (float(value) for value in np.quantile(known, (0.5, 0.95, 0.99)))
    return Spread(p50=max(p50, 0.0), p95=max(p95, 0.0), p99=max(p99, 0.0))


def _bundles(
    table: Table, now: npt.NDArray[np.bool_], known: Collection[Digest], smallest: int
) -> tuple[tuple[BundleImpact, ...], int]:
    """What each bundle answered, and how many of them are too small to be shown."""
    rows = table.rows[now].assign(harmed=table.harmed[now], session=table.session[now])
    groups = [
        (str(bundle), arm == "canary", part)
        for (bundle, arm), part in rows.groupby(["bundle", "arm"], sort=True)[["harmed", "session"]]
        if bundle in known
    ]
    left_out = small_groups(np.array([part["session"].nunique() for _, _, part in groups], dtype=np.int64), smallest)
    found = [
        BundleImpact(
            bundle=bundle, arm="canary" if canary else "stable", requests=len(part),
            harmed_requests=int(part["harmed"].sum()),
        )
        for place, (bundle, canary, part) in enumerate(groups)
        if place not in left_out
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda one: -one.requests)), len(left_out)


def _harms(table: Table, now: npt.NDArray[np.bool_]) -> dict[str, int]:
    kinds = {"failed": "failure_rate", "slow": "slow_rate", "rewritten": "rewritten", "private": "privacy_rate"}
    kinds |= {"worker_died": "worker_deaths"}
    kinds |= {source: name for name, source in EVENTS.items()}
    counted = {kind: int((table.measures[name][0][now] > 0).sum()) for kind, name in kinds.items()}
    return {kind: count for kind, count in counted.items() if count}


def _errors(table: Table, now: npt.NDArray[np.bool_]) -> dict[str, int]:
    found: dict[str, int] = {}
    for code, count in table.rows.loc[now, "error_code"].value_counts().items():
        if str(code):
            called = str(code) if str(code) in KNOWN_ERRORS else "other"
            found[called] = found.get(called, 0) + int(count)
    return dict(sorted(found.items()))


def _burn(table: Table, now: npt.NDArray[np.bool_], allowed: Mapping[str, float]) -> dict[str, float]:
    """How many times too fast each budget burns in the window."""
    rates = {}
    for objective, metric in (("availability", "failure_rate"), ("latency", "slow_rate")):
        bad, asked = (float(part[now].sum()) for part in table.measures[metric])
        if objective in allowed and asked and allowed[objective] > 0:
            rates[objective] = bad / asked / allowed[objective]
    return rates
