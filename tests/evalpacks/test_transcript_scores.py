"""`soundcheck score` on anyone's transcripts: the JSON of house.md, and every misuse named."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import WrongCall
from evalpacks.transcript_scores import score_transcripts
from tests.evalpacks.evaluation_samples import make_table, outputs

REFERENCES = pd.DataFrame(
    {
        "utterance_id": ["u1", "u2", "u3"],
        "text": ["turn the light on", "stop", "play some music"],
        "speaker": ["a", "b", "c"],
        "accent": ["us", "us", "scottish"],
    }
)
HYPOTHESES = pd.DataFrame({"utterance_id": ["u3", "u1", "u2"], "text": ["play music", "turn light off now", "stop"]})


def test_the_json_of_house() -> None:
    assert score_transcripts(REFERENCES, HYPOTHESES, slices=["accent"]) == {
        "overall": {"wer": 0.5, "substitutions": 1, "deletions": 2, "insertions": 1, "reference_words": 8},
        "slices": {
            "accent=scottish": {
                "wer": 1 / 3,
                "substitutions": 0,
                "deletions": 1,
                "insertions": 0,
                "reference_words": 3,
            },
            "accent=us": {"wer": 0.6, "substitutions": 1, "deletions": 1, "insertions": 1, "reference_words": 5},
        },
        "delta": {},
        "verdict": None,
    }


def test_equal_systems_never_fail() -> None:
    result = score_transcripts(REFERENCES, HYPOTHESES, HYPOTHESES, slices=["accent"])
    assert result["delta"]["accent=us"] == {"wer": {"estimate": 0.0, "lower": 0.0, "upper": 0.0}}
    assert result["verdict"]["value"] == "pass"
    assert "overall: WER 50.0% -> 50.0%, +0.0 points" in result["verdict"]["reasons"][0]


def test_a_planted_regression_fails_and_is_json() -> None:
    table = make_table()
    good = outputs(table, 0.05)
    bad = outputs(table, lambda row: 0.4 if row["accent"] == "scottish" else 0.05, seed=6)
    result = score_transcripts(table, bad, good, slices=["accent"], margin=0.01)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["verdict"]["value"] == "fail"
    assert result["verdict"]["reasons"][0].startswith(("overall: WER", "accent=scottish: WER"))
    assert result["delta"]["accent=scottish"]["wer"]["lower"] > 0
    assert set(result["delta"]) == {"overall", "accent=us", "accent=scottish"}


def test_few_utterances_prove_nothing() -> None:
    worse = HYPOTHESES.assign(text=["nothing", "of the kind", "at all"])
    result = score_transcripts(REFERENCES, worse, HYPOTHESES)
    assert result["verdict"]["value"] == "inconclusive"
    assert result["delta"]["overall"]["wer"]["lower"] is None


def test_without_speakers_the_utterance_is_the_unit() -> None:
    table = make_table()
    bad, good = outputs(table, 0.4), outputs(table, 0.05)
    result = score_transcripts(table.drop(columns="speaker"), bad, good)
    assert "(speakers not known): worse" in result["verdict"]["reasons"][0]


def test_no_reference_words_have_no_rate() -> None:
    silent = REFERENCES.assign(text="")
    result = score_transcripts(silent, HYPOTHESES, HYPOTHESES)
    assert result["overall"]["wer"] is None
    assert result["overall"]["insertions"] == 7
    assert result["verdict"] == {
        "value": "inconclusive",
        "reasons": ["overall: no reference words, so no WER"],
    }


def test_missing_hypotheses_are_counted_and_named() -> None:
    with pytest.raises(WrongCall) as error:
        score_transcripts(REFERENCES, HYPOTHESES.iloc[:1])
    assert str(error.value) == (
        "2 of 3 utterances have no hypothesis\n  where: hypotheses\n  got: missing: u1, u2\n"
        "  expected: one hypothesis for every utterance\n"
        '  next step: add the missing lines; where nothing was heard the text is ""'
    )
    with pytest.raises(WrongCall, match="2 of 3 utterances have no hypothesis\n  where: baseline"):
        score_transcripts(REFERENCES, HYPOTHESES, HYPOTHESES.iloc[:1])


def test_repeated_ids_are_counted_and_named() -> None:
    with pytest.raises(WrongCall, match="1 utterance id occurs more than once\n  where: references\n  got: u1"):
        score_transcripts(pd.concat([REFERENCES, REFERENCES.iloc[:1]]), HYPOTHESES)
    with pytest.raises(WrongCall, match="3 utterance ids occur more than once\n  where: hypotheses"):
        score_transcripts(REFERENCES, pd.concat([HYPOTHESES, HYPOTHESES]))


def test_speakers_of_some_references_only_are_a_wrong_call() -> None:
    some = REFERENCES.assign(speaker=pd.Series(["a", None, "c"], dtype=object))
    with pytest.raises(WrongCall) as error:
        score_transcripts(some, HYPOTHESES, HYPOTHESES)
    assert str(error.value) == (
        "1 of 3 references have no speaker\n  where: references\n  got: missing: u2\n"
        "  expected: a speaker on every line, or on none"
    )


def test_slices_of_columns_that_are_not_there_are_a_wrong_call() -> None:
    with pytest.raises(WrongCall, match="a slice names a column that is not there\n  got: 'device'"):
        score_transcripts(REFERENCES, HYPOTHESES, slices=["device"])


@given(order=st.permutations([0, 1, 2]))
def test_permuting_lines_changes_nothing(order: list[int]) -> None:
    permuted = score_transcripts(REFERENCES.iloc[order], HYPOTHESES.iloc[order[::-1]], HYPOTHESES, slices=["accent"])
    assert permuted == score_transcripts(REFERENCES, HYPOTHESES, HYPOTHESES, slices=["accent"])
