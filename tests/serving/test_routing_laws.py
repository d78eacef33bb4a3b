"""Laws of the route decision, and of the tables a gateway follows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.digest import sha256_bytes
from contracts.routing import CanaryRoute, RouteTable, SliceRule, Stage, bucket, route
from serving.router import pinned, routed
from serving.shadow import word_edits

STABLE, CANARY, OLD = (sha256_bytes(name) for name in (b"stable", b"canary", b"old"))
LABELS = st.dictionaries(st.sampled_from(["tenant", "device", "probe"]), st.sampled_from(["internal", "acme", "yes"]))
SESSIONS = st.text(max_size=12)
STAGES: list[Stage] = ["probe", "shadow", "cohort", "wide"]


def table(canary: CanaryRoute | None = None, *rules: SliceRule) -> RouteTable:
    return pinned("tiny", STABLE).model_copy(update={"canary": canary, "slice_rules": rules, "warm": (OLD,)})


CANARIES = st.builds(
    CanaryRoute,
    bundle=st.just(CANARY),
    stage=st.sampled_from(STAGES),
    weight=st.floats(0, 1),
    cohort=st.just({"tenant": ("internal",)}),
)


@given(CANARIES, LABELS, SESSIONS)
def test_law_equal_requests_route_alike_and_somewhere_that_is_kept(
    canary: CanaryRoute, labels: dict[str, str], session: str
) -> None:
    chosen = route(table(canary), labels, session)
    again = RouteTable.parse(table(canary).canonical())
    assert route(again, dict(reversed(labels.items())), session) == chosen
    assert chosen.bundle in routed(again)
    assert chosen.shadow is None or chosen.shadow in routed(again)


@given(LABELS, SESSIONS)
def test_law_a_shadow_never_answers(labels: dict[str, str], session: str) -> None:
    chosen = route(table(CanaryRoute(bundle=CANARY, stage="shadow", weight=1.0)), labels, session)
    assert chosen[:3] == (STABLE, "stable", CANARY)


@given(st.sampled_from(STAGES), LABELS, SESSIONS)
def test_law_weight_zero_reaches_nobody(stage: Stage, labels: dict[str, str], session: str) -> None:
    chosen = route(table(CanaryRoute(bundle=CANARY, stage=stage, weight=0.0)), labels, session)
    assert chosen[:3] == (STABLE, "stable", None)


@given(CANARIES, LABELS, SESSIONS)
def test_law_a_growing_weight_only_adds_sessions(canary: CanaryRoute, labels: dict[str, str], session: str) -> None:
    wider = canary.model_copy(update={"weight": 1.0})
    if route(table(canary), labels, session).arm == "canary":
        assert route(table(wider), labels, session).arm == "canary"


@given(CANARIES, SESSIONS)
def test_law_the_first_slice_rule_wins_over_the_canary(canary: CanaryRoute, session: str) -> None:
    rules = (
        SliceRule(label="device", value="phone", bundle=OLD),
        SliceRule(label="device", value="phone", bundle=CANARY),
    )
    assert route(table(canary, *rules), {"device": "phone"}, session).bundle == OLD


def test_buckets_spread_evenly() -> None:
    share = sum(bucket(f"session-{number}", CANARY) < 0.3 for number in range(4_000)) / 4_000
    assert 0.27 < share < 0.33


def test_warm_bundles_do_not_hold_a_switch_up() -> None:
    full = table(CanaryRoute(bundle=CANARY, stage="wide", weight=0.5))
    assert full.bundles() == (STABLE, CANARY, OLD)
    assert routed(full) == (STABLE, CANARY)


WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=6)


@given(WORDS, WORDS)
def test_law_word_edits_is_a_distance(first: list[str], second: list[str]) -> None:
    edits = word_edits(first, second)
    assert edits == word_edits(second, first)
    assert (edits == 0) == (first == second)
    assert abs(len(first) - len(second)) <= edits <= max(len(first), len(second))


def test_word_edits_of_an_example() -> None:
    assert word_edits(["turn", "on", "the", "kitchen", "light"], ["turn", "off", "kitchen", "lights"]) == 3
