"""Cost against quality: what a saving buys, who pays, and which models are worth having."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.policy import Exchange
from contracts.reports import Comparison, Count, ScoreReport, TimingReport
from contracts.verdict import Value, Verdict
from evalpacks.exchange import Point, dominated, frontier, point_of, sentences, settle
from tests.evalpacks.gate_samples import gate_report_of
from tests.evalpacks.gate_samples import timing as timing_report

EXCHANGE = Exchange(min_saving=0.2, extra_margin=0.01)
NO_BASELINE: dict[str, Any] = {"stable": None, "estimate": None, "lower": None, "upper": None, "upper_one_sided": None}


def timing(saving: float | None) -> TimingReport:
    stable = None if saving is None else 0.1
    own = 0.1 if saving is None else 0.1 * (1 - saving)
    return timing_report(cost_usd_per_audio_hour=own, stable_cost_usd_per_audio_hour=stable)


def row(**changes: Any) -> Comparison:
    """WER 10% -> 11.5%, proven, over a margin of 1 point."""
    fields: dict[str, Any] = {
        "pack": "commands", "metric": "wer", "slice": "noise=clean", "better": "lower", "speakers": 20,
        "utterances": 200, "candidate": Count(numerator=115, denominator=1000),
        "stable": Count(numerator=100, denominator=1000), "estimate": 0.015, "lower": 0.005, "upper": 0.025,
        "upper_one_sided": 0.02, "margin": 0.01, "limit": 0.5,
        "verdict": Verdict(value=Value.FAIL, reasons=("worse",)),
    }  # fmt: skip
    return Comparison.model_validate(fields | changes)


UNDECIDED = Verdict(value=Value.INCONCLUSIVE, reasons=("undecided",))
PASSED = Verdict(value=Value.PASS, reasons=("fine",))


@pytest.mark.parametrize(
    ("changes", "saving", "value"),
    [
        ({}, 0.35, Value.PASS),
        ({}, 0.2, Value.PASS),  # exactly the saving that is asked for (R4.4)
        ({}, 0.19, Value.FAIL),
        ({}, -0.3, Value.FAIL),
        ({}, None, Value.FAIL),  # what is saved is not known
        ({"protected": True}, 0.35, Value.FAIL),  # a protected slice never pays
        ({"high_risk": True}, 0.35, Value.FAIL),
        ({"baseline": "parent"}, 0.35, Value.FAIL),
        ({"verdict": UNDECIDED}, 0.35, Value.PASS),
        ({"estimate": 0.025, "upper_one_sided": 0.035}, 0.35, Value.FAIL),  # more than the saving pays for
        ({"estimate": 0.015, "upper_one_sided": 0.025}, 0.35, Value.INCONCLUSIVE),
        ({"limit": 0.11}, 0.35, Value.FAIL),  # the ceiling is not for sale
        ({"verdict": UNDECIDED, **NO_BASELINE}, 0.35, Value.INCONCLUSIVE),  # nor is evidence that is missing
        ({"relative": True, "excess_one_sided": 0.01}, 0.35, Value.PASS),
        ({"relative": True, "excess_one_sided": 0.011}, 0.35, Value.INCONCLUSIVE),
        (
            {"better": "higher", "metric": "intent_recall", "limit": 0.05, "estimate": -0.015, "lower": -0.025,
             "upper": -0.005},
            0.35, Value.PASS,
        ),
    ],
)  # fmt: skip
def test_a_saving_widens_margins_of_slices_that_nobody_protects(
    changes: dict[str, Any], saving: float | None, value: Value
) -> None:
    (settled,) = settle([row(**changes)], timing(saving), EXCHANGE)
    assert settled.verdict.value == value


def test_the_verdict_says_what_widened_it() -> None:
    (settled,) = settle([row()], timing(0.35), EXCHANGE)
    assert settled.margin == 0.02
    assert settled.verdict.reasons == (
        "commands/noise=clean: WER 10.0% -> 11.5%, +1.5 points [+0.5, +2.5], margin 2.0: not worse; "
        "the margin is 0.01 wider for a saving of 35%",
    )


@pytest.mark.parametrize("changes", [{"verdict": PASSED}, {"protected": True}, {"baseline": "parent"}])
def test_what_is_not_for_sale_is_left_as_it_is(changes: dict[str, Any]) -> None:
    assert settle([row(**changes)], timing(0.35), EXCHANGE) == (row(**changes),)
    assert settle([row()], timing(0.35), None) == (row(),)


def test_sentences_say_what_is_saved_and_who_pays_most() -> None:
    rows = [
        row(),
        row(slice="accent=us", estimate=-0.01, lower=-0.02, upper=-0.005, verdict=PASSED),
        row(slice="accent=scottish&noise=5db", estimate=0.189, lower=0.12, upper=0.258, protected=True),
        row(slice="noise=5db", estimate=0.01, lower=-0.01, upper=0.03, verdict=UNDECIDED),
        row(slice="overall", baseline="parent"),
    ]
    cheaper = timing_report(
        cost_usd_per_audio_hour=0.02, stable_cost_usd_per_audio_hour=0.032, peak_memory_mb=300,
        stable_peak_memory_mb=400, rtf=0.04, stable_rtf=0.0399,
    )  # fmt: skip
    assert sentences(rows, cheaper, EXCHANGE) == (
        "cost 0.032 -> 0.02 USD/audio hour (38% less), peak memory 400 -> 300 MB (25% less), "
        "RTF 0.0399 -> 0.04 (the same)",
        "margins of slices that are neither protected nor high-risk are 0.01 wider",
        "commands/accent=scottish&noise=5db pays WER 18.9 points worse (protected)",
        "commands/noise=clean pays WER 1.5 points worse",
    )


@pytest.mark.parametrize(
    ("saving", "exchange", "said"),
    [
        (0.1, EXCHANGE, ["no margin is wider: the policy asks for a saving of 20%"]),
        (None, EXCHANGE, ["no margin is wider: what the candidate saves is not known"]),
        (0.5, None, []),
    ],
)
def test_sentences_say_why_nothing_is_bought(saving: float | None, exchange: Exchange | None, said: list[str]) -> None:
    _, *rest = sentences([row(lower=-0.01)], timing(saving), exchange)
    assert rest == [*said, "no slice is proven to pay"]


def test_a_first_release_exchanges_nothing() -> None:
    assert sentences([row(**NO_BASELINE)], timing_report(stable_payload=None), EXCHANGE) == ()


def test_the_gate_report_has_the_exchange() -> None:
    report = gate_report_of(exchange=EXCHANGE.model_dump())
    assert report.exchange[0].startswith("cost 0.03 -> 0.031 USD/audio hour (3% more)")
    assert report.exchange[1:] == (
        "no margin is wider: the policy asks for a saving of 20%",
        "no slice is proven to pay",
    )


@pytest.mark.parametrize(
    ("name", "points", "expected"),
    [
        ("nothing", {}, {}),
        ("alone", {"a": Point(1, {"us": 0.1})}, {"a": ()}),
        ("cheaper and as good", {"a": Point(1, {"us": 0.1}), "b": Point(2, {"us": 0.1})}, {"a": (), "b": ("a",)}),
        ("as cheap and better", {"a": Point(1, {"us": 0.1}), "b": Point(1, {"us": 0.2})}, {"a": (), "b": ("a",)}),
        ("equal", {"a": Point(1, {"us": 0.1}), "b": Point(1, {"us": 0.1})}, {"a": (), "b": ()}),
        ("an exchange", {"a": Point(1, {"us": 0.2}), "b": Point(2, {"us": 0.1})}, {"a": (), "b": ()}),
        (
            "better overall, worse on a slice",
            {"a": Point(1, {"overall": 0.1, "us": 0.3}), "b": Point(2, {"overall": 0.2, "us": 0.2})},
            {"a": (), "b": ()},
        ),
        ("no common slice", {"a": Point(1, {"us": 0.1}), "b": Point(2, {"uk": 0.2})}, {"a": (), "b": ()}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_dominated_models(name: str, points: dict[str, Point], expected: dict[str, tuple[str, ...]]) -> None:
    assert dominated(points) == expected


MODELS = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(
        lambda cost, us, uk: Point(cost, {"us": us, "uk": uk}),
        st.integers(1, 4).map(float), st.integers(1, 4).map(float), st.integers(1, 4).map(float),
    ),
    min_size=1,
)  # fmt: skip


@given(models=MODELS)
def test_the_frontier_is_never_empty_and_dominates_the_rest(models: dict[str, Point]) -> None:
    found = dominated(models)
    frontier = {name for name, rivals in found.items() if not rivals}
    assert frontier
    assert all(frontier & set(rivals) for name, rivals in found.items() if name not in frontier)
    assert all(name not in found[rival] for name, rivals in found.items() for rival in rivals)


def test_a_family_without_words_is_weighed_by_every_metric_that_it_has() -> None:
    f1 = row(metric="macro_f1", better="higher", slice="overall", candidate=Count(numerator=900, denominator=1000))
    eer = row(metric="eer", better="lower", slice="overall", candidate=Count(numerator=50, denominator=1000))
    found = point_of(scored(f1, eer), timing(None))
    assert found.rates == {"commands/overall macro_f1": -0.9, "commands/overall eer": 0.05}
    worse = found._replace(rates={"commands/overall macro_f1": -0.8, "commands/overall eer": 0.05})
    assert dominated({"new": found, "old": worse})["old"] == ("new",)
    assert "cost an audio hour against every metric on every gated slice" in frontier({"new": found, "old": worse})[0]


def test_where_words_are_counted_they_alone_are_weighed() -> None:
    intent = row(metric="intent_recall", better="higher")
    assert point_of(scored(row(), intent), timing(None)).rates == {"commands/noise=clean": 0.115}


def scored(*rows: Comparison) -> ScoreReport:
    return ScoreReport(
        family="f", version="v", payload_digest="0" * 64, stable_payload=None, packs={}, policy="0" * 64,
        normalizer="none/1", alpha=0.05, replicates=10, words={}, stable_words={}, comparisons=rows,
    )  # fmt: skip
