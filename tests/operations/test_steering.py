"""Degrade and cascade: signed changes of how stable is served, which other moves carry on (coverage rows 23 and 29)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.digest import Digest
from contracts.errors import Conflict, Corrupt, Refused, WrongCall
from contracts.routing import CanaryRoute, Cascade, Degradation, RouteTable, SliceRule
from operations import pointer
from operations.cascade import cascade
from operations.degrade import degrade
from operations.golden import warm_proof
from operations.rollback import condemn, rollback
from operations.steering import STEERING_TYPE
from registry.store.keys import blob_key
from serving.presence import announce, withdraw
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import OPERATOR, TinyFamily

BY: dict[str, Any] = {"key_name": OPERATOR, "reason": "calls pile up"}


@pytest.fixture
def family(tmp_path: Path) -> Iterator[TinyFamily]:
    """v1, v2 and v3 were promoted in this order; the bundles are of 100, 30 and 60 bytes of weights and some more.

    A gateway (this process) serves whatever comes, and has proved v1 and v2.
    """
    made = TinyFamily(tmp_path / "project")
    made.promote("v1", "one", weights=100)
    made.promote("v2", "two", weights=30)
    made.promote("v3", "six", weights=60)
    serve_all(made, proved=("v1", "v2"))
    yield made
    withdraw(made.home)


def serve_all(family: TinyFamily, *, proved: tuple[str, ...], equal: int = 1) -> None:
    said = {family.bundles[version]: {"equal": equal, "expected": 1, "erased": 0, "at": "now"} for version in proved}
    announce(family.home, "http://127.0.0.1:9", {FAMILY: {"version": 10**6, "bundles": [], "proved": said}})


def table_of(family: TinyFamily) -> RouteTable:
    table = pointer.current(family.context, FAMILY).table
    assert table is not None
    return table


def steps(family: TinyFamily, step: str) -> list[str]:
    return [event.outcome for event in family.context.ledger(FAMILY).events() if event.step == step]


def test_degrading_touches_nothing_but_how_stable_is_served(family: TinyFamily) -> None:
    seen = pointer.current(family.context, FAMILY)
    rule = SliceRule(label="device", value="phone", bundle=family.bundles["v1"])
    canary = CanaryRoute(bundle=family.bundles["v2"], stage="wide", weight=0.1)
    before = pointer.move(
        family.context, FAMILY, seen, stable=seen.stable, canary=canary, slice_rules=(rule,),
        warm=(family.bundles["v1"],), actor="anna", reason="canary",
    )  # fmt: skip
    done = degrade(family.context, FAMILY, mode="no_partials", **BY)
    after = table_of(family)
    assert (done.change, done.version, done.repeated) == (
        "degraded: streams send finals alone", before.version + 1, False
    )  # fmt: skip
    assert after.degradation == Degradation(mode="no_partials")
    kept = ("stable", "canary", "slice_rules", "warm", "cascade", "closed")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
    assert (after.actor, after.reason) == (OPERATOR, "degraded: streams send finals alone: calls pile up")


def test_the_change_is_signed_and_stands_in_the_ledger_with_intent_and_outcome(family: TinyFamily) -> None:
    cascade(family.context, FAMILY, small="v2", below=0.7, **BY)
    start, complete = [event for event in family.context.ledger(FAMILY).events() if event.step == "cascade"]
    assert (start.outcome, complete.outcome) == ("start", "complete")
    assert complete.outputs == {**start.outputs, "route_table": table_of(family).digest()}
    assert complete.outputs["bundle"] == family.bundles["v2"]
    envelope = json.loads(family.context.store.read_blob(complete.outputs["signature"]))
    assert STEERING_TYPE.encode() in base64.b64decode(envelope["payload"])
    assert complete.data["route_version"] == table_of(family).version
    assert table_of(family).cascade == Cascade(small=family.bundles["v2"], below=0.7, audit=0.02)


def test_the_lightest_bundle_that_was_stable_before_is_the_smaller_one(family: TinyFamily) -> None:
    degrade(family.context, FAMILY, mode="smaller", **BY)
    assert table_of(family).degradation == Degradation(mode="smaller", bundle=family.bundles["v2"])
    degrade(family.context, FAMILY, mode="smaller", bundle="v1", **BY)
    assert table_of(family).degradation == Degradation(mode="smaller", bundle=family.bundles["v1"])
    degrade(family.context, FAMILY, mode=None, **BY)
    assert table_of(family).degradation is None


def test_where_stable_is_the_lightest_nothing_is_smaller(family: TinyFamily) -> None:
    rollback(family.context, FAMILY, key_name=OPERATOR, reason="v3 mishears")
    assert table_of(family).stable == family.bundles["v2"]
    with pytest.raises(Refused) as refused:
        degrade(family.context, FAMILY, mode="smaller", **BY)
    assert refused.value.what == "no bundle takes less than the stable one"
    assert refused.value.next_step == "degrade with --mode no_partials, or name a bundle with --bundle"


def test_the_same_change_made_twice_moves_once(family: TinyFamily) -> None:
    first = degrade(family.context, FAMILY, mode="no_partials", **BY)
    again = degrade(family.context, FAMILY, mode="no_partials", **BY)
    assert (again.version, again.repeated) == (first.version, True)
    assert steps(family, "degrade") == ["start", "complete"]


def test_a_change_that_was_killed_after_its_move_gets_its_outcome_from_the_next_run(
    family: TinyFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 3."""
    with monkeypatch.context() as patched:
        patched.setattr("operations.steering._complete", _killed)
        with pytest.raises(KeyboardInterrupt):
            degrade(family.context, FAMILY, mode="no_partials", **BY)
    assert steps(family, "degrade") == ["start"]
    assert degrade(family.context, FAMILY, mode="no_partials", **BY).repeated
    assert steps(family, "degrade") == ["start", "complete"]


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_conflict_is_tried_again_on_the_new_table(family: TinyFamily, monkeypatch: pytest.MonkeyPatch) -> None:
    real, lost = pointer.move, list[RouteTable]()

    def once(*args: Any, **kwargs: Any) -> RouteTable:
        if not lost:
            seen, warm = pointer.current(family.context, FAMILY), (family.bundles["v1"],)
            lost.append(
                real(family.context, FAMILY, seen, stable=seen.stable, warm=warm, actor="a", reason="meanwhile")
            )
            raise Conflict("somebody else moved the pointer first")
        return real(*args, **kwargs)

    monkeypatch.setattr("operations.pointer.move", once)
    degrade(family.context, FAMILY, mode="no_partials", **BY)
    assert table_of(family).warm == (family.bundles["v1"],)
    assert table_of(family).version == lost[0].version + 1


def test_a_condemned_bundle_and_stable_itself_may_not_answer_beside_stable(family: TinyFamily) -> None:
    condemn(family.context, FAMILY, family.bundles["v1"], reason="x")
    before = table_of(family)
    for name, why in (("v1", "it is condemned"), ("v3", "it is the stable one")):
        with pytest.raises(Refused) as refused:
            cascade(family.context, FAMILY, small=name, below=0.8, **BY)
        assert (refused.value.what, refused.value.got) == ("this bundle may not answer beside the stable one", why)
    assert table_of(family) == before


def test_a_withdrawn_bundle_may_not_answer_beside_stable(family: TinyFamily) -> None:
    rollback(family.context, FAMILY, key_name=OPERATOR, reason="v3 mishears")
    with pytest.raises(Refused, match="it was withdrawn by a rollback"):
        cascade(family.context, FAMILY, small="v3", below=0.8, **BY)


def test_a_damaged_bundle_is_not_put_before_users(family: TinyFamily) -> None:
    from registry.bundle import load_manifest

    weights = load_manifest(family.context.store, family.bundles["v1"]).files["payload/weights.safetensors"].sha256
    (family.home / "store" / blob_key(weights)).unlink()
    with pytest.raises(Corrupt, match="the bundle is not whole"):
        cascade(family.context, FAMILY, small="v1", below=0.8, **BY)
    assert steps(family, "cascade") == []


def test_a_confidence_is_a_number_from_0_to_1(family: TinyFamily) -> None:
    with pytest.raises(WrongCall, match="not a confidence or a share"):
        cascade(family.context, FAMILY, small="v2", below=80, **BY)


# ---- what other moves carry on ---------------------------------------------------------------------------------------
def test_moves_carry_cascade_and_degradation_on(family: TinyFamily) -> None:
    cascade(family.context, FAMILY, small="v2", below=0.8, **BY)
    degrade(family.context, FAMILY, mode="no_partials", **BY)
    before = table_of(family)
    family.promote("v4", "ten")
    after = table_of(family)
    assert after.stable == family.bundles["v4"]
    assert (after.cascade, after.degradation) == (before.cascade, before.degradation)
    cascade(family.context, FAMILY, small=None, below=0.8, **BY)
    assert (table_of(family).cascade, table_of(family).degradation) == (None, before.degradation)


def test_a_rollback_ends_what_names_the_bundle_that_becomes_stable_or_is_withdrawn(family: TinyFamily) -> None:
    cascade(family.context, FAMILY, small="v2", below=0.8, **BY)
    degrade(family.context, FAMILY, mode="smaller", bundle="v1", **BY)
    rollback(family.context, FAMILY, key_name=OPERATOR, reason="v3 mishears")
    table = table_of(family)
    assert (table.stable, table.cascade) == (family.bundles["v2"], None)
    assert table.degradation == Degradation(mode="smaller", bundle=family.bundles["v1"])
    rollback(family.context, FAMILY, key_name=OPERATOR, reason="v2 mishears too")
    assert (table_of(family).stable, table_of(family).degradation) == (family.bundles["v1"], None)


def test_closed_bundles_stay_closed_until_something_routes_to_them(family: TinyFamily) -> None:
    def move(stable: str, closed: tuple[Digest, ...] = ()) -> RouteTable:
        seen = pointer.current(family.context, FAMILY)
        return pointer.move(
            family.context, FAMILY, seen, stable=family.bundles[stable], closed=closed, actor="a", reason="r"
        )

    leaky = family.bundles["v3"]
    assert move("v2", (leaky,)).closed == (leaky,)
    assert move("v1").closed == (leaky,)
    assert move("v3").closed == ()


# ---- the proof of warm workers (B5) ----------------------------------------------------------------------------------
def test_a_rollback_is_proved_by_the_warm_workers_of_every_gateway(
    family: TinyFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operations.rollback.prove", _killed)  # no fresh process is started
    done = rollback(family.context, FAMILY, key_name=OPERATOR, reason="v3 mishears")
    assert (done.target, done.proved_by) == (family.bundles["v2"], "warm workers")
    assert (done.golden_equal, done.golden_expected) == (1, 1)


@pytest.mark.parametrize(
    ("proved", "equal"), [((), 1), (("v1",), 1), (("v1", "v2"), 0)], ids=["nothing", "another bundle", "unequal"]
)
def test_without_such_a_proof_a_fresh_process_proves(
    family: TinyFamily, proved: tuple[str, ...], equal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_all(family, proved=proved, equal=equal)
    assert warm_proof(family.context, FAMILY, family.bundles["v2"]) is None
    monkeypatch.setattr("operations.rollback.prove", _killed)
    with pytest.raises(KeyboardInterrupt):
        rollback(family.context, FAMILY, key_name=OPERATOR, reason="v3 mishears")
    assert table_of(family).stable == family.bundles["v3"]


def test_without_a_gateway_nothing_is_proved_by_one(family: TinyFamily) -> None:
    withdraw(family.home)
    assert warm_proof(family.context, FAMILY, family.bundles["v2"]) is None
