"""B Rollback: take a family back to a bundle that was stable, or forward again to one that is named.

Boundary: the store, the ledger, the pointer, what gateways say; a process for the golden proof where the target is not
warm and proved already; no Prefect, no MLflow needed.
Invariants: signed and with a reason (B0); the target's manifest, signature, blobs and golden outputs are proved before
the pointer moves (B3, B5); a broken target is condemned and the next one taken; abort and rollback win over promote
(B7): a conflict is tried again on the new table; the same request (actor, reason, target) made twice, because nobody
knows whether the first came through, moves once (fault 3).
"""

from __future__ import annotations

import time
from typing import Literal, NamedTuple

from pydantic import JsonValue

from contracts.bundle import BundleManifest
from contracts.digest import Digest, short
from contracts.errors import Refused
from contracts.ledger_event import LedgerEvent
from contracts.routing import RouteTable, SliceRule
from operations import keys, pointer
from operations.context import Context, log
from operations.golden import prove, warm_proof
from operations.migration.planning import index_fault
from operations.mirror import follow
from operations.payload import feature_contract
from operations.restore import healthy
from operations.verification import Verification, verify_served
from registry.documents import get_document
from registry.release_state import ReleaseState
from registry.resolver import NoTarget, Resolution, rollback_target

WARM = 2
"""Bundles that are kept warm beside the stable one: the last that were left."""


class RolledBack(NamedTuple):
    """What a rollback did: where it came from and went to, golden outputs proved, seconds from call to served."""

    family: str
    kind: str
    left: Digest
    target: Digest
    version: str
    golden_equal: int
    golden_expected: int
    switch_s: float
    total_s: float
    skipped: tuple[tuple[Digest, str], ...]
    golden_erased: int = 0
    """Fixtures that prove nothing any longer, because consent was withdrawn (S5)."""
    repeated: bool = False
    """This very request had been carried out before: nothing moved now."""
    proved_by: Literal["warm workers", "a fresh process"] = "a fresh process"
    """What gave the golden outputs: the processes that answer users now, or one that was started for it."""
    wrong: tuple[str, ...] = ()
    """What gateways answered wrongly to the verification query, in sentences."""


def rollback(
    context: Context,
    family: str,
    *,
    key_name: str,
    reason: str,
    to: str | None = None,
    slices: tuple[str, ...] = (),
) -> RolledBack:
    """Move the family (or only some slices, B6) to the resolved target; see clauses B0 to B7.

    Where the newest move is this request already, it is finished (gateways, mirror) and `repeated` says so.
    """
    started = time.monotonic()
    signer = keys.load(context, key_name)
    keys.require_role(context, signer, "operator")
    reconciled = pointer.reconcile(context, family)
    state = context.ledger(family).state()
    named = named_bundle(context, family, to) if to else None
    if not slices and _is_newest_move(state, named, actor=signer.name, reason=reason):
        return _finish_again(context, family, started)
    _refuse_second_step(context, family, reconciled)
    try:
        resolution = way_back(context, family, state, named)
    except NoTarget as nothing:
        _condemn(context, family, nothing.skipped)
        raise
    _condemn(context, family, resolution.skipped)
    warm = warm_proof(context, family, resolution.target)
    proof = warm or prove(context, resolution.target)
    signature = context.store.put_blob(keys.sign_rollback(context, signer, family, resolution.target, reason))
    left = state.current
    assert left is not None
    switched = time.monotonic()
    intent, table = _move(context, family, resolution, signature, actor=signer.name, reason=reason, slices=slices)
    finished = time.monotonic()
    verified = _settle(context, intent, table)
    follow(context, family)
    return RolledBack(
        family=family,
        kind=resolution.kind,
        left=left,
        target=resolution.target,
        version=resolution.version,
        golden_equal=proof.equal,
        golden_expected=proof.expected,
        switch_s=finished - switched,
        total_s=finished - started,
        skipped=tuple(resolution.skipped),
        golden_erased=proof.erased,
        proved_by="warm workers" if warm else "a fresh process",
        wrong=verified.wrong,
    )


def _is_newest_move(state: ReleaseState, named: Digest | None, *, actor: str, reason: str) -> bool:
    """Whether the family's newest move is a rollback by the same person, for the same reason, to what is asked for.

    Of slices alone (B6) the question is not asked: done again, such a move changes nothing.
    """
    if not state.history or any(move.sequence > state.history[-1].sequence for move in state.slice_moves):
        return False
    newest = state.history[-1]
    same = (newest.actor, newest.reason) == (actor, reason) and newest.bundle == state.current
    return same and (
        newest.kind == "rollback" if named is None else newest.kind != "promote" and newest.bundle == named
    )


def _finish_again(context: Context, family: str, started: float) -> RolledBack:
    """What the first run may not have come to: gateways and mirror follow."""
    state, table = context.ledger(family).state(), pointer.current(context, family).table
    newest, earlier = state.history[-1], state.history[:-1]
    assert table is not None
    pointer.wait_for_gateways(context, table)
    follow(context, family)
    return RolledBack(
        family=family, kind=newest.kind, left=earlier[-1].bundle if earlier else newest.bundle, target=newest.bundle,
        version=newest.version, golden_equal=0, golden_expected=0, switch_s=0.0, total_s=time.monotonic() - started,
        skipped=(), repeated=True,
    )  # fmt: skip


def _refuse_second_step(context: Context, family: str, reconciled: list[str]) -> None:
    """Another rollback died after its move and is recorded now: whether to go on is decided anew (fault 3)."""
    if f"rollback {pointer.MOVED}" in reconciled:
        raise Refused(
            "an interrupted rollback had moved the pointer; it is recorded now, and nothing more was done",
            where=family,
            got=f"stable is {_label(context, family)}",
            next_step=f"soundcheck status {family}; to go further back, run the same command again",
        )


def _label(context: Context, family: str) -> str:
    state = context.ledger(family).state()
    return f"{state.packaged.get(state.current or '', '')} {short(state.current or '')}".strip()


def _move(
    context: Context,
    family: str,
    resolution: Resolution,
    signature: Digest,
    *,
    actor: str,
    reason: str,
    slices: tuple[str, ...],
) -> tuple[LedgerEvent, RouteTable]:
    """Write the intent, move the pointer, wait until every gateway serves the new table."""
    ledger = context.ledger(family)
    facts: dict[str, JsonValue] = {
        "version": resolution.version,
        "kind": resolution.kind,
        "actor": actor,
        "reason": reason,
    } | ({"slices": list(slices)} if slices else {})
    outputs = {"bundle": resolution.target, "signature": signature}
    state = ledger.state()
    left = set() if slices else _left(state, resolution)
    intent = ledger.append("rollback", "start", at=context.timestamp(), outputs=outputs, data=facts)

    def moved(seen: pointer.Current) -> RouteTable:
        assert seen.table is not None
        stable = seen.table.stable if slices else resolution.target
        warm = tuple(bundle for bundle in (seen.stable, *seen.table.warm) if bundle and bundle != stable)
        rules = _rules(seen.table.slice_rules, slices, resolution.target)
        return pointer.move(
            context, family, seen, stable=stable, slice_rules=rules, warm=warm[:WARM], left=left, actor=actor,
            reason=reason,
        )  # fmt: skip

    table = pointer.insist(context, family, moved)
    pointer.wait_for_gateways(context, table)
    return intent, table


def _settle(context: Context, intent: LedgerEvent, table: RouteTable) -> Verification:
    """Run the verification query, where the whole family moved, and record the outcome (B5)."""
    verified = Verification() if intent.data.get("slices") else verify_served(context, table)
    for sentence in verified.wrong:
        log.error("PAGE: %s: after the rollback, %s", intent.family, sentence)
    outputs = {**intent.outputs, "route_table": table.digest()}
    data: dict[str, JsonValue] = {"gateways_asked": verified.asked, "gateways_wrong": list(verified.wrong)}
    data |= pointer.settled(intent, table)
    context.ledger(intent.family).append("rollback", "complete", at=context.timestamp(), outputs=outputs, data=data)
    return verified


def _left(state: ReleaseState, resolution: Resolution) -> set[Digest]:
    """Bundles that no cascade and no degradation may name after this move (B0)."""
    gone = {state.current} if resolution.kind == "rollback" and state.current else set()
    return (gone | state.withdrawn | state.condemned) - {resolution.target}


def _rules(present: tuple[SliceRule, ...], slices: tuple[str, ...], target: Digest) -> tuple[SliceRule, ...]:
    """B6: only the named slices move; a whole rollback leaves no rule behind."""
    if not slices:
        return ()
    moved = tuple(SliceRule(label=name.split("=")[0], value=name.split("=")[1], bundle=target) for name in slices)
    named = {(rule.label, rule.value) for rule in moved}
    return moved + tuple(rule for rule in present if (rule.label, rule.value) not in named)


def named_bundle(context: Context, family: str, name: str) -> Digest:
    """The bundle that a digest, the start of one, or a version of the family means; Refused when it is not one."""
    packaged = context.ledger(family).state().packaged
    matches = [bundle for bundle, version in packaged.items() if name in (bundle, version)]
    matches = matches or [bundle for bundle in packaged if len(name) >= 6 and bundle.startswith(name)]
    if not matches:
        known = ", ".join(f"{version} ({short(bundle)})" for bundle, version in packaged.items())
        raise Refused(
            "there is no such bundle",
            where=family,
            got=name,
            expected=known or "a bundle that was packaged",
            next_step=f"soundcheck status {family} shows the history",
        )
    return matches[-1]


def way_back(context: Context, family: str, state: ReleaseState, named: Digest | None = None) -> Resolution:
    """Where a rollback goes (B1 to B4), whoever asks for it; raises what registry.resolver.rollback_target does."""
    return rollback_target(
        state,
        named=named,
        healthy=lambda bundle: healthy(context, family, bundle),
        compatible=lambda bundle: incompatible(context, state.current, bundle),
    )


def incompatible(context: Context, current: Digest | None, target: Digest) -> str | None:
    """B4: why clients of the current bundle could not be served by the target, None when they can."""
    if current is None:
        return None
    now, then = (feature_contract(context, bundle) for bundle in (current, target))
    lost = set(now.accepted_rates_hz) - set(then.accepted_rates_hz)
    if lost:
        return f"clients send {', '.join(str(rate) for rate in sorted(lost))} Hz audio, which the target refuses"
    return index_fault(context, get_document(context.store, BundleManifest, current).family, now, then)


def _condemn(context: Context, family: str, broken: tuple[tuple[Digest, str], ...]) -> None:
    """B3: a broken bundle is condemned and a person is paged."""
    for bundle, why in broken:
        log.error("PAGE: %s: bundle %s is broken and was skipped: %s", family, short(bundle), why)
        condemn(context, family, bundle, reason=why)


def condemn(context: Context, family: str, bundle: Digest, *, reason: str) -> None:
    """Forbid a bundle for good: nothing is promoted or rolled back to it."""
    context.ledger(family).append(
        "condemn", "complete", at=context.timestamp(), outputs={"bundle": bundle}, data={"reason": reason}
    )


def find_family(context: Context, bundle: str) -> tuple[str, Digest]:
    """The family that packaged a bundle, and its whole digest."""
    for family in context.settings.families:
        try:
            return family, named_bundle(context, family, bundle)
        except Refused:
            continue
    raise Refused(
        "there is no such bundle", where="the store", got=bundle, expected="a digest that `soundcheck status` shows",
        next_step="soundcheck status",
    )  # fmt: skip
