"""Score reports: the gates of a policy answered slice by slice, deterministic to the byte."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from contracts.errors import Refused
from contracts.policy import FamilyPolicy
from contracts.reports import Comparison, Count, ScoreReport
from contracts.verdict import Value
from evalpacks.metrics import Outputs
from evalpacks.normalize import VERSIONS
from evalpacks.pack import Pack
from evalpacks.scoring import score_report
from tests.evalpacks.evaluation_samples import make_pack, make_policy, make_table, outputs

CANDIDATE, STABLE = "a" * 64, "b" * 64


def report(
    pack: Pack,
    candidate: pd.DataFrame,
    stable: pd.DataFrame | None,
    policy: FamilyPolicy | None = None,
) -> ScoreReport:
    arms = {pack.name: candidate}, None if stable is None else {pack.name: stable}
    return of_arms(pack, *arms, policy or make_policy())


def of_arms(
    pack: Pack, candidate: dict[str, pd.DataFrame], stable: dict[str, pd.DataFrame] | None, policy: FamilyPolicy
) -> ScoreReport:
    return score_report(
        family="asr-commands",
        version="v2",
        payload_digest=CANDIDATE,
        stable_payload=None if stable is None else STABLE,
        packs=[pack],
        candidate={name: Outputs(table) for name, table in candidate.items()},
        stable=None if stable is None else {name: Outputs(table) for name, table in stable.items()},
        policy=policy,
    )


def by_slice(scored: ScoreReport) -> dict[str, Comparison]:
    return {row.slice: row for row in scored.comparisons}


def some_errors(pack: Pack, seed: int = 5) -> pd.DataFrame:
    return outputs(pack.utterances, 0.1, seed)


def bad_on_noisy_scottish(pack: Pack) -> pd.DataFrame:
    return outputs(pack.utterances, lambda row: 0.4 if (row["accent"], row["noise"]) == ("scottish", "5db") else 0.05)


def test_a_regression_of_one_slice_fails_there_and_names_it(pack: Pack) -> None:
    rows = by_slice(report(pack, bad_on_noisy_scottish(pack), some_errors(pack)))
    hurt = rows["accent=scottish&noise=5db"]
    assert hurt.verdict.value == Value.FAIL
    assert hurt.verdict.reasons[0].startswith("commands/accent=scottish&noise=5db: WER ")
    assert hurt.verdict.reasons[0].endswith("margin 3.0: worse")
    assert hurt.lower is not None
    assert hurt.estimate is not None
    assert 0 < hurt.lower < hurt.estimate
    assert hurt.margin == 0.03
    assert hurt.limit == 0.35
    assert rows["accent=us"].verdict.value == Value.PASS
    assert (hurt.protected, hurt.high_risk) == (True, False)
    assert (rows["accent=scottish"].protected, rows["accent=scottish"].high_risk) == (True, True)
    assert (hurt.unit, hurt.speakers, hurt.utterances) == ("speaker", 12, 72)


def test_equal_systems_pass_with_zero_bounds(pack: Pack) -> None:
    same = some_errors(pack)
    for row in report(pack, same, same).comparisons:
        assert (row.estimate, row.lower, row.upper, row.upper_one_sided) == (0.0, 0.0, 0.0, 0.0)
        assert row.verdict.value == Value.PASS


@pytest.mark.parametrize("seed", range(8))
def test_equal_quality_never_fails(pack: Pack, seed: int) -> None:
    rows = report(pack, some_errors(pack, seed), some_errors(pack, seed + 100)).comparisons
    assert Value.FAIL not in {row.verdict.value for row in rows}


def test_words_of_every_slice_are_counted(pack: Pack) -> None:
    scored = report(pack, some_errors(pack), some_errors(pack, 6))
    assert (
        set(scored.words)
        == set(scored.stable_words)
        == {
            "commands/overall",
            "commands/accent=us",
            "commands/accent=scottish",
            "commands/noise=clean",
            "commands/noise=5db",
            "commands/accent=scottish&noise=5db",
        }
    )
    overall = scored.words["commands/overall"]
    assert (overall.utterances, overall.speakers, overall.reference_words) == (288, 24, 2304)
    halves = [scored.words[f"commands/accent={accent}"] for accent in ("us", "scottish")]
    for field in ("substitutions", "deletions", "insertions", "reference_words", "utterances", "speakers"):
        assert sum(getattr(half, field) for half in halves) == getattr(overall, field)
    assert scored.normalizer == VERSIONS["none"]
    assert scored.packs == {"commands": pack.digest}
    assert (scored.alpha, scored.replicates) == (0.05, 400)


def test_permuting_utterances_changes_no_byte(pack: Pack) -> None:
    candidate, stable = bad_on_noisy_scottish(pack), some_errors(pack)
    shuffled = report(
        make_pack(make_table().sample(frac=1, random_state=1)),
        candidate.sample(frac=1, random_state=2),
        stable.sample(frac=1, random_state=3),
    )
    assert shuffled.canonical() == report(pack, candidate, stable).canonical()


def test_a_report_round_trips(pack: Pack) -> None:
    scored = report(pack, some_errors(pack), some_errors(pack, 6))
    assert ScoreReport.parse(scored.canonical()) == scored


def test_a_first_release_is_held_to_the_ceiling(pack: Pack) -> None:
    rows = by_slice(report(pack, bad_on_noisy_scottish(pack), None))
    row = rows["accent=scottish&noise=5db"]
    assert (row.stable, row.estimate, row.lower, row.margin, row.limit) == (None, None, None, None, 0.35)
    assert row.verdict.value == Value.FAIL
    assert row.verdict.reasons[0].endswith("ceiling 35.0%, first release: over the ceiling")
    assert rows["overall"].verdict.value == Value.PASS


GATE = {"pack": "commands", "metric": "wer", "margin": 0.01, "limit": 0.35, "min_speakers": 10, "min_support": 100}


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        ({"slices": ["accent=welsh"]}, "commands/accent=welsh: the pack has nothing in this slice"),
        ({"slices": ["device=phone"]}, "commands/device=phone: the pack has nothing in this slice"),
        ({"pack": "entities", "slices": "overall"}, "entities/overall: the pack was not run"),
        ({"pack": "entities", "slices": "protected"}, "entities/protected: the pack was not run"),
        (
            {"slices": ["accent=us"], "min_speakers": 13},
            "commands/accent=us: WER 10.5% has too little support: 12 of 13 speakers",
        ),
    ],
)
def test_missing_evidence_is_inconclusive(pack: Pack, gate: dict[str, Any], reason: str) -> None:
    policy = make_policy(quality=[GATE | gate])
    for stable in (some_errors(pack, 6), None):
        (row,) = report(pack, some_errors(pack), stable, policy).comparisons
        assert row.verdict.value == Value.INCONCLUSIVE
        assert row.verdict.reasons == (reason,)
        assert row.estimate is None


def test_a_pack_without_protected_slices_is_inconclusive() -> None:
    pack = make_pack(protected=[])
    policy = make_policy(quality=[GATE | {"slices": "protected"}])
    (row,) = report(pack, some_errors(pack), some_errors(pack, 6), policy).comparisons
    assert row.verdict.reasons == ("commands/protected: the pack has no protected slice",)
    assert row.verdict.value == Value.INCONCLUSIVE


def test_a_missing_baseline_is_inconclusive(pack: Pack) -> None:
    rows = of_arms(pack, {pack.name: some_errors(pack)}, {}, make_policy()).comparisons
    assert {row.verdict.value for row in rows} == {Value.INCONCLUSIVE}
    assert rows[0].verdict.reasons == ("commands/overall: stable was not run, so there is no baseline",)
    assert rows[0].stable is None
    assert rows[0].candidate.rate is not None


def test_a_policy_without_gates_asks_nothing(pack: Pack) -> None:
    assert report(pack, some_errors(pack), None, make_policy(quality=[])).comparisons == ()


def test_high_risk_comes_from_pack_policy_and_family(pack: Pack) -> None:
    def risky(policy: FamilyPolicy) -> set[str]:
        return {row.slice for row in report(pack, some_errors(pack), None, policy).comparisons if row.high_risk}

    assert risky(make_policy()) == {"accent=scottish"}
    assert risky(make_policy(high_risk_slices=["accent=us"])) == {"accent=us", "accent=scottish"}
    assert risky(make_policy(high_risk=True)) >= {"overall", "accent=us"}


@pytest.mark.parametrize("arm", ["candidate", "stable"])
def test_outputs_that_lack_or_repeat_an_utterance_are_refused(pack: Pack, arm: str) -> None:
    whole = some_errors(pack)
    for broken, message in (
        (whole.drop(index=[3, 5]), "2 of 288 utterances have no hypothesis"),
        (pd.concat([whole, whole.iloc[:1]]), "1 utterance id occurs more than once"),
        (whole.assign(text=whole["text"].where(whole.index > 0)), "1 of 288 utterances have no hypothesis"),
    ):
        arms = {"candidate": whole, "stable": whole} | {arm: broken}
        with pytest.raises(Refused) as error:
            report(pack, arms["candidate"], arms["stable"])
        assert error.value.what == message
        assert error.value.where == f"outputs of the {arm} on pack commands"


def test_empty_outputs_are_deletions(pack: Pack) -> None:
    silent = some_errors(pack).assign(text="")
    (overall, *_) = report(pack, silent, None).comparisons
    assert overall.candidate == Count(numerator=2304, denominator=2304)


def test_the_normaliser_of_the_policy_is_used() -> None:
    pack = make_pack(make_table().assign(text="turn to thirty six"))
    outputs_ = pack.utterances[["utterance_id"]].assign(text="Turn to 36.")
    (overall, *_) = report(pack, outputs_, None, make_policy(normalizer="english")).comparisons
    assert overall.candidate.numerator == 0
    assert overall.candidate.denominator == 3 * 288
