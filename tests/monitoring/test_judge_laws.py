"""Laws of the judge: what may change nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.canary import Judge, Judgement, judge
from tests.monitoring.telemetry import START_S, plan_of, traffic

PLAN = plan_of(min_sessions=5)
HARM = {"us": 0.1, "scottish": 0.4}
wers = st.sampled_from([0.02, 0.1, 0.3])


def drawn(seed: int, canary_wer: float, share: float = 0.5) -> pd.DataFrame:
    return traffic(200, canary_wer={"us": 0.1, "scottish": canary_wer}, seed=seed, share=share)


def whole(rows: pd.DataFrame, now_s: float = START_S + 230) -> Judgement:
    return judge(rows, PLAN, now_s=now_s, started_s=START_S)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), canary_wer=wers, shuffle=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(seed: int, canary_wer: float, shuffle: int) -> None:
    rows = drawn(seed, canary_wer)
    assert whole(rows) == whole(rows.sample(frac=1, random_state=shuffle))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 99),
    canary_wer=wers,
    share=st.sampled_from([0.2, 0.5]),
    cuts=st.lists(st.floats(1, 229), max_size=6),
)
def test_rows_that_are_fed_in_parts_give_what_all_rows_give(
    seed: int, canary_wer: float, share: float, cuts: list[float]
) -> None:
    rows = drawn(seed, canary_wer, share)
    fed = Judge(PLAN, started_s=START_S)
    since_s = -np.inf
    for now_s in [*(START_S + cut for cut in sorted(cuts)), START_S + 230]:
        fed.feed(rows[(rows["timestamp"] > since_s) & (rows["timestamp"] <= now_s)])
        since_s = now_s
        parts, at_once = fed.look(now_s), whole(rows, now_s)
        assert parts.decision == at_once.decision
        assert parts.at_s == at_once.at_s
        for part, one in zip(parts.evidence, at_once.evidence, strict=True):
            assert part.e_worse == pytest.approx(one.e_worse, rel=1e-6)
            assert part.e_fine == pytest.approx(one.e_fine, rel=1e-6)
            assert part.state == one.state


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), looks=st.lists(st.floats(200, 1_200), min_size=1, max_size=4))
def test_a_stop_stays_where_it_was_at_every_later_look(seed: int, looks: list[float]) -> None:
    rows = traffic(1_200, canary_wer=HARM, seed=seed)
    last = judge(rows, PLAN, now_s=START_S + 1_230, started_s=START_S)
    assert last.decision == "rollback"
    for after_s in looks:
        judgement = judge(rows, PLAN, now_s=START_S + after_s, started_s=START_S)
        assert (judgement.decision == "rollback") == (START_S + after_s >= last.at_s)
        if judgement.decision == "rollback":
            assert judgement.at_s == last.at_s


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), late_s=st.floats(5.6, 50))
def test_what_a_session_says_after_it_closed_is_not_counted(seed: int, late_s: float) -> None:
    rows = drawn(seed, 0.1)
    again = rows[rows["session_id"] == "s000010"].assign(errors=10.0)
    again["timestamp"] += late_s
    assert whole(pd.concat([rows, again])).evidence == whole(rows).evidence


def test_a_session_counts_as_at_most_its_cap_of_requests() -> None:
    rows = traffic(60)
    chatter = rows[rows["session_id"] == "s000010"].iloc[:1].loc[lambda one: one.index.repeat(500)].assign(errors=10.0)
    chatter["timestamp"] += np.arange(500) * 0.1
    plan = plan_of(min_sessions=5, caps={"utterances": 3})
    with_chatter = judge(pd.concat([rows, chatter]), plan, now_s=START_S + 90, started_s=START_S)
    assert with_chatter.canary_sessions == 30
    overall = next(row for row in with_chatter.evidence if row.metric == "wer")
    assert overall.canary_rate is not None
    assert overall.canary_rate < 0.2


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99))
def test_arms_that_change_places_change_the_sign_of_every_difference(seed: int) -> None:
    rows = drawn(seed, 0.3)
    swapped = rows.replace({"arm": {"stable": "canary", "canary": "stable"}})
    for one, other in zip(whole(rows).evidence, whole(swapped).evidence, strict=True):
        assert one.estimate == pytest.approx(-(other.estimate or 0.0), abs=1e-12)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), extra=st.integers(1, 5))
def test_a_metric_more_never_makes_a_stop_easier(seed: int, extra: int) -> None:
    rows = drawn(seed, 0.3)
    more = plan_of(
        min_sessions=5,
        metrics={
            **PLAN.metrics,
            **{
                f"again{i}": PLAN.metrics["latency_ms"].model_copy(update={"column": "latency_ms"})
                for i in range(extra)
            },
        },
    )
    stricter = judge(rows, more, now_s=START_S + 230, started_s=START_S)
    assert stricter.worse_at > whole(rows).worse_at
