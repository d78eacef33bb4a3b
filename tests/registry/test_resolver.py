"""The rollback resolver, clause by clause, and the weighting of several regressions."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.digest import Digest, sha256_bytes
from contracts.errors import Corrupt, Refused, WrongCall
from contracts.ledger_event import GENESIS, LedgerEvent
from registry.release_state import ReleaseState, fold
from registry.resolver import NoTarget, Resolution, rollback_target, weigh

V1, V2, V3, V4 = (sha256_bytes(name.encode()) for name in ("v1", "v2", "v3", "v4"))
NAMES = {V1: "v1", V2: "v2", V3: "v3", V4: "v4"}
FORWARD_FIX = "fix forward: release a candidate that repairs the fault under the present schema"


def told(*moves: str, condemned: tuple[Digest, ...] = ()) -> ReleaseState:
    """A family's state from moves such as "promote v1", "rollback v1", "forward v2"."""
    bundles = {version: bundle for bundle, version in NAMES.items()}
    facts = [("package", bundle, {"version": version}) for version, bundle in bundles.items() if version != "v4"]
    for move in moves:
        kind, version = move.split()
        facts.append(("promote" if kind == "promote" else "rollback", bundles[version], {"kind": kind}))
    facts += [("condemn", bundle, {}) for bundle in condemned]
    events: list[LedgerEvent] = []
    for sequence, (step, bundle, data) in enumerate(facts):
        events.append(
            LedgerEvent(
                family="asr",
                sequence=sequence,
                previous=events[-1].digest() if events else GENESIS,
                at="2026-11-20T14:02:31Z",
                step=step,
                outcome="complete",
                outputs={"bundle": bundle},
                data={"actor": "a", "reason": "b", **data},
            )
        )
    return fold(events)


def whole(_bundle: Digest) -> list[str]:
    return []


def broken(*bundles: Digest) -> Callable[[Digest], list[str]]:
    return lambda bundle: ["payload/weights: corrupt"] if bundle in bundles else []


def fits(_bundle: Digest) -> str | None:
    return None


def unfit(*bundles: Digest) -> Callable[[Digest], str | None]:
    return lambda bundle: "embedding dimension 192, the index has 256" if bundle in bundles else None


@pytest.mark.parametrize(
    ("moves", "named", "target", "kind"),
    [
        (("promote v1", "promote v2"), None, V1, "rollback"),
        (("promote v1", "promote v2", "promote v3"), None, V2, "rollback"),
        (("promote v1", "promote v2", "promote v3"), V1, V1, "rollback"),
        (("promote v1", "promote v2", "promote v3", "rollback v2"), None, V1, "rollback"),
        (("promote v1", "promote v2", "rollback v1"), V2, V2, "forward"),
        (("promote v1", "promote v2", "rollback v1", "forward v2"), None, V1, "rollback"),
        (("promote v1", "promote v2", "rollback v1", "promote v3"), None, V1, "rollback"),
        (("promote v1", "promote v2", "rollback v1", "promote v3"), V2, V2, "rollback"),
        (("promote v1", "promote v2", "promote v3", "rollback v1"), None, V2, "rollback"),
        (("promote v1", "promote v2", "promote v1"), None, V2, "rollback"),
    ],
)
def test_where_a_family_goes_back_to(moves: tuple[str, ...], named: Digest | None, target: Digest, kind: str) -> None:
    """B1 and B2."""
    resolution = rollback_target(told(*moves), named=named, healthy=whole, compatible=fits)
    assert (resolution.version, resolution.kind, resolution.skipped) == (NAMES[target], kind, ())
    assert resolution.target == target


def test_b1_condemned_bundles_are_left_out() -> None:
    state = told("promote v1", "promote v2", "promote v3", condemned=(V2,))
    assert rollback_target(state, named=None, healthy=whole, compatible=fits).target == V1


def test_b3_a_broken_bundle_is_skipped_and_reported() -> None:
    state = told("promote v1", "promote v2", "promote v3")
    assert rollback_target(state, named=None, healthy=broken(V2), compatible=fits) == Resolution(
        target=V1, version="v1", kind="rollback", skipped=((V2, "payload/weights: corrupt"),)
    )


def test_b3_nothing_whole_is_left() -> None:
    state = told("promote v1", "promote v2", "promote v3")
    with pytest.raises(NoTarget) as raised:
        rollback_target(state, named=None, healthy=broken(V1, V2), compatible=fits)
    assert raised.value.skipped == ((V2, "payload/weights: corrupt"), (V1, "payload/weights: corrupt"))
    assert str(raised.value) == (
        "there is no bundle to go back to\n"
        "  where: family asr\n"
        f"  got: v2 {V2[:12]} is broken (payload/weights: corrupt); v1 {V1[:12]} is broken (payload/weights: corrupt)\n"
        "  expected: a bundle that was stable, is whole, and is neither condemned nor withdrawn\n"
        "  next step: fix forward: release a repaired candidate"
    )
    assert pickle.loads(pickle.dumps(raised.value)).skipped == raised.value.skipped


def test_a_first_release_has_nothing_to_go_back_to() -> None:
    with pytest.raises(NoTarget) as raised:
        rollback_target(told("promote v1"), named=None, healthy=whole, compatible=fits)
    assert raised.value.got == "1 bundle was ever stable"
    with pytest.raises(NoTarget):
        rollback_target(told(), named=None, healthy=whole, compatible=fits)


def test_what_was_withdrawn_is_offered_by_name_when_nothing_else_is_left() -> None:
    with pytest.raises(NoTarget) as raised:
        rollback_target(told("promote v1", "promote v2", "rollback v1"), named=None, healthy=whole, compatible=fits)
    assert raised.value.got == f"v2 {V2[:12]} is withdrawn"
    assert raised.value.next_step == "name a withdrawn one with --to"


def test_b4_an_incompatible_bundle_is_refused_and_the_forward_fix_named() -> None:
    state = told("promote v1", "promote v2")
    for named in (None, V1):
        with pytest.raises(Refused) as raised:
            rollback_target(state, named=named, healthy=whole, compatible=unfit(V1))
        assert raised.value.what == f"cannot go back to v1 {V1[:12]}: it is not compatible"
        assert raised.value.got == "embedding dimension 192, the index has 256"
        assert raised.value.next_step == FORWARD_FIX


def test_b4_an_older_compatible_bundle_is_offered_by_name() -> None:
    state = told("promote v1", "promote v2", "promote v3")
    with pytest.raises(Refused) as raised:
        rollback_target(state, named=None, healthy=whole, compatible=unfit(V2))
    assert raised.value.next_step == f"{FORWARD_FIX}; or name an older one that is compatible, one of: v1 {V1[:12]}"


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        (V2, "it is the stable one now"),
        (V3, "it was never stable"),
        (V4, "no release of this family packaged it"),
        (V1, "it is condemned"),
    ],
)
def test_a_named_bundle_that_may_not_be_is_refused(named: Digest, reason: str) -> None:
    state = told("promote v1", "promote v2", condemned=(V1,))
    with pytest.raises(Refused) as raised:
        rollback_target(state, named=named, healthy=whole, compatible=fits)
    version = "" if named == V4 else NAMES[named] + " "
    assert raised.value.what == f"cannot go back to {version}{named[:12]}: {reason}"
    assert raised.value.expected == "a bundle that was stable before (there is none left)"


def test_a_named_bundle_that_is_broken_is_refused_with_its_faults() -> None:
    state = told("promote v1", "promote v2", "promote v3")
    with pytest.raises(Corrupt) as raised:
        rollback_target(state, named=V2, healthy=broken(V2), compatible=fits)
    assert raised.value.got == "payload/weights: corrupt"
    assert raised.value.expected == f"one of: v2 {V2[:12]}, v1 {V1[:12]}"


kinds = st.sampled_from(["promote", "rollback", "forward"])
moves = st.lists(st.tuples(kinds, st.sampled_from(["v1", "v2", "v3", "v4"])))


@given(drawn=moves, condemned=st.sets(st.sampled_from(list(NAMES))), bad=st.sets(st.sampled_from(list(NAMES))))
def test_law_a_target_was_stable_is_whole_and_is_not_out(
    drawn: list[tuple[str, str]], condemned: set[Digest], bad: set[Digest]
) -> None:
    state = told(*(f"{kind} {version}" for kind, version in drawn), condemned=tuple(condemned))
    try:
        resolution = rollback_target(state, named=None, healthy=broken(*bad), compatible=fits)
    except NoTarget as error:
        skipped = {bundle for bundle, _ in error.skipped}
        left = {move.bundle for move in state.history} - skipped - state.condemned - state.withdrawn - {state.current}
        assert left == set(), "nothing that would do was overlooked"
        return
    assert resolution.target in {move.bundle for move in state.history}
    assert resolution.target not in condemned | bad | state.withdrawn | {state.current}
    newer = [bundle for bundle, _ in resolution.skipped]
    assert set(newer) <= bad
    assert all((state.promoted_at(b) or 0) > (state.promoted_at(resolution.target) or 0) for b in newer)


@pytest.mark.parametrize(
    ("regressions", "weights", "worst"),
    [
        ({}, {}, None),
        ({"v1": {}, "v2": {"overall": -0.2}}, {}, None),
        ({"v1": {"overall": 0.01}, "v2": {"overall": 0.02}}, {}, "v2"),
        ({"v1": {"emergency": 0.01}, "v2": {"overall": 0.05}}, {"emergency": 10.0}, "v1"),
        ({"v1": {"a": 0.03, "b": -9.0}, "v2": {"a": 0.02}}, {}, "v1"),
        ({"v2": {"a": 0.02}, "v1": {"a": 0.02}}, {}, "v2"),
        ({"v1": {"a": 0.02}}, {"a": 0.0}, None),
    ],
)
def test_b2_critical_slices_weigh_first(
    regressions: dict[str, dict[str, float]], weights: dict[str, float], worst: str | None
) -> None:
    assert weigh(regressions, weights) == worst


@pytest.mark.parametrize(("regression", "weight"), [(float("nan"), 1.0), (float("inf"), 1.0), (0.1, -1.0)])
def test_unknown_harm_is_not_no_harm(regression: float, weight: float) -> None:
    with pytest.raises(WrongCall) as raised:
        weigh({"v1": {"accent=us": regression}}, {"accent=us": weight})
    assert raised.value.where == "version v1, slice accent=us"
