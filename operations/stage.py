"""R6 Stage: a fresh production API on the restored bundle, in processes of its own, and a replay over the wire.

Boundary: an empty staging home, one gateway on a free port, the pointer `staging/FAMILY`; nothing of production moves.
Invariants: the bundle is restored from the store into an empty folder; every check names its clause; a check that could
not be made is an Error, never a Pass.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from contracts.digest import Digest
from contracts.policy import FamilyPolicy
from contracts.reports import Check, ReplayReport
from contracts.verdict import Value, worst
from operations import pointer
from operations.context import Context, once, put
from operations.gate import Stopped
from operations.keys import ensure_api_key
from operations.replaying import Replay, check
from operations.soak import soak_check
from registry.documents import get_document
from serving.client import RunningGateway, start_gateway

STAGING = "staging"
"""Prefix of the pointers that staged replays move."""


def stage(context: Context, family: str, captured: dict[str, Digest], packaged: dict[str, Digest]) -> dict[str, Digest]:
    """Outputs: `replay_report`; raises Stopped after the report is in the ledger."""
    policy = get_document(context.store, FamilyPolicy, captured["policy"])
    stable = pointer.current(context, family).stable
    release = captured["release"]
    inputs = {"bundle": packaged["bundle"], "policy": captured["policy"]} | ({"stable": stable} if stable else {})

    def body() -> tuple[dict[str, Digest], dict[str, JsonValue]]:
        report = replay(context, policy, packaged["bundle"], rehearse_with=stable)
        (digest,) = put(context, report)
        facts: dict[str, JsonValue] = {"verdict": report.verdict.value.value}
        if report.verdict.value != Value.PASS:
            facts["reasons"] = list(report.verdict.reasons[:5])
        return {"replay_report": digest}, facts

    outputs = once(
        context,
        family=family,
        release=release,
        step="stage",
        inputs=inputs,
        body=body,
        settled=lambda facts: facts["verdict"] == Value.PASS,
    )
    report = get_document(context.store, ReplayReport, outputs["replay_report"])
    if report.verdict.value != Value.PASS:
        version = context.ledger(family).state().releases[release].version
        raise Stopped(
            "stage", report.verdict, family=family, version=version, release=release,
            next_step="read the failed checks in the release report; change the candidate or its budgets",
        )  # fmt: skip
    return outputs


def replay(
    context: Context,
    policy: FamilyPolicy,
    bundle: Digest,
    *,
    rehearse_with: Digest | None,
    fixtures: Sequence[Path] = (),
) -> ReplayReport:
    """Serve the bundle alone and ask it everything that R6 names; rehearse the rollback to another bundle if given."""
    with tempfile.TemporaryDirectory(prefix="soundcheck-staging-") as folder:
        home = Path(folder)
        key = ensure_api_key(home, STAGING)
        _point(context, policy.family, bundle, warm=rehearse_with)
        with (
            start_gateway(
                home,
                families=(policy.family,),
                store_url=context.store.url,
                timeout_s=policy.staging.timeout_s,
                options=("--pointers", STAGING),
            ) as gateway,
            Replay(gateway.base_url, policy, key, home, bundle, fixtures) as replaying,
        ):
            report = _measure(context, policy, bundle, rehearse_with, gateway, replaying)
        planted, found = len(replaying.planted()), replaying.planted_found()
    privacy = check("planted strings", "R6.6", found == 0, f"{found} of {planted} found in logs, telemetry, metrics")
    checks = (*report.checks, privacy)
    return report.model_copy(
        update={
            "planted_strings": planted,
            "planted_found": found,
            "checks": checks,
            "verdict": worst(one.verdict for one in checks),
        }
    )


def _point(context: Context, family: str, stable: Digest, *, warm: Digest | None) -> int:
    """Move the staging pointer; the table's version."""
    seen = pointer.current(context, family, prefix=STAGING)
    table = pointer.move(
        context, family, seen, stable=stable, warm=(warm,) if warm else (), actor=STAGING, reason="staged replay",
        prefix=STAGING,
    )  # fmt: skip
    return table.version


def _measure(
    context: Context,
    policy: FamilyPolicy,
    bundle: Digest,
    other: Digest | None,
    gateway: RunningGateway,
    replaying: Replay,
) -> ReplayReport:
    steps = "staged replay"
    context.progress(steps, 0, 6)
    cold, golden = replaying.cold(), replaying.golden()
    context.progress(steps, 1, 6)
    warm = replaying.load()
    context.progress(steps, 2, 6)
    long = replaying.long()
    contract_checks = replaying.contract_checks()
    context.progress(steps, 3, 6)
    soaked = replaying.soak(gateway)
    context.progress(steps, 4, 6)
    rehearsed = _rehearse(context, policy.family, bundle, other, replaying)
    context.progress(steps, 6, 6)
    peak_memory_mb = gateway.peak_memory_mb()
    cost = replaying.cost_usd_per_audio_hour
    checks = [
        check("golden outputs", "R6.1", golden.equal == golden.expected, f"{golden.equal} of {golden.expected} equal"),
        *contract_checks,
        *replaying.budget_checks(warm, long, peak_memory_mb, cost),
        *([soak_check(soaked, policy.staging.max_growth_mb_per_1000)] if soaked else []),
        rehearsed.check,
    ]
    return ReplayReport(
        family=policy.family,
        bundle=bundle,
        golden_expected=golden.expected,
        golden_equal=golden.equal,
        cold_start_ms=gateway.cold_start_ms,
        cold_final_ms=cold.final_ms,
        cold_first_partial_ms=cold.first_ms,
        warm=warm,
        long_utterance=long,
        soak=soaked,
        peak_memory_mb=peak_memory_mb,
        cost_usd_per_audio_hour=cost,
        rehearsal_s=rehearsed.back_s,
        forward_s=rehearsed.forward_s,
        planted_strings=0,
        planted_found=0,
        checks=tuple(checks),
        verdict=worst(one.verdict for one in checks),
    )


class _Rehearsed(NamedTuple):
    """How long each way took, None where there was nowhere to go, and what was proved."""

    check: Check
    back_s: float | None = None
    forward_s: float | None = None


def _rehearse(context: Context, family: str, bundle: Digest, other: Digest | None, replaying: Replay) -> _Rehearsed:
    """R6.5: candidate -> stable -> candidate on the staging gateway; each must answer its own golden fixtures."""
    name, clause = "rollback rehearsed", "R6.5"
    if other is None:
        return _Rehearsed(check(name, clause, True, "first release: there is no stable bundle to go back to"))
    _point(context, family, other, warm=bundle)
    back_s = replaying.seconds_until_served_by(other)
    before = replaying.golden_of(other)
    _point(context, family, bundle, warm=other)
    forward_s = replaying.seconds_until_served_by(bundle)
    after = replaying.golden_of(bundle)
    fine = not before.different and not after.different
    said = (
        f"back in {back_s:.2f} s, {before.equal} of {before.expected} golden outputs of stable equal; "
        f"forward in {forward_s:.2f} s, {after.equal} of {after.expected} of the candidate"
    )
    return _Rehearsed(check(name, clause, fine, said), back_s, forward_s)
