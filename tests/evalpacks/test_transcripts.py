"""`soundcheck score` on anyone's transcripts: the JSON of house.md, and the three file formats."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import WrongCall
from evalpacks.scoring import score_transcripts
from evalpacks.transcripts import read_transcripts
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


def test_slices_of_columns_that_are_not_there_are_a_wrong_call() -> None:
    with pytest.raises(WrongCall, match="a slice names a column that is not there\n  got: 'device'"):
        score_transcripts(REFERENCES, HYPOTHESES, slices=["device"])


@given(order=st.permutations([0, 1, 2]))
def test_permuting_lines_changes_nothing(order: list[int]) -> None:
    permuted = score_transcripts(REFERENCES.iloc[order], HYPOTHESES.iloc[order[::-1]], HYPOTHESES, slices=["accent"])
    assert permuted == score_transcripts(REFERENCES, HYPOTHESES, HYPOTHESES, slices=["accent"])


JSON_LINES = '{"utterance_id": "u1", "text": "a b", "accent": "us"}\n\n{"utterance_id": "u2", "text": ""}\n'
CSV = "utterance_id,text,accent\nu1,a b,us\nu2,,\n"
TRN = "a b (u1)\n\n(u2)\n"


@pytest.mark.parametrize(("name", "content"), [("t.jsonl", JSON_LINES), ("t.csv", CSV), ("t.trn", TRN)])
def test_three_formats_say_the_same(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8-sig")
    table = read_transcripts(tmp_path / name)
    assert table[["utterance_id", "text"]].to_dict("records") == [
        {"utterance_id": "u1", "text": "a b"},
        {"utterance_id": "u2", "text": ""},
    ]


def test_labels_that_are_absent_are_in_no_slice(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(JSON_LINES + '{"utterance_id": "u3", "text": "c", "accent": null}')
    table = read_transcripts(tmp_path / "r.jsonl")
    result = score_transcripts(table, table, slices=["accent"])
    assert set(result["slices"]) == {"accent=us"}
    assert result["overall"]["reference_words"] == 3


def test_numbers_become_text(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"utterance_id": 7, "text": "c", "snr": 5, "noisy": true}')
    (row,) = read_transcripts(tmp_path / "r.jsonl").to_dict("records")
    assert row == {"utterance_id": "7", "text": "c", "snr": "5", "noisy": "True"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.jsonl", "", "a transcript file is empty"),
        ("t.jsonl", "\n \n", "a transcript file is empty"),
        ("t.jsonl", '{"utterance_id": "u1"\n', "a line is not JSON\n  where: PATH, line 1"),
        ("t.jsonl", "[1]\n", "a line is not a JSON object\n  where: PATH, line 1\n  got: list"),
        (
            "t.jsonl",
            '{"id": "u1", "text": "x"}',
            "a line has no utterance_id\n  where: PATH, line 1\n  got: fields: id",
        ),
        ("t.jsonl", '{"utterance_id": "", "text": "x"}', "a line has no utterance_id"),
        ("t.jsonl", '{"utterance_id": "u1"}', "a line has no text"),
        ("t.jsonl", '{"utterance_id": "u1", "text": null}', "a line has no text"),
        ("t.jsonl", '{"utterance_id": "u1", "text": 5}', "a text is not a string\n  where: PATH, line 1\n  got: int"),
        ("t.csv", "utterance_id,text\nu1,a,b\n", "a line has more fields than the header\n  where: PATH, line 2"),
        ("t.csv", "id,text\nu1,a\n", "a line has no utterance_id\n  where: PATH, line 2"),
        ("t.trn", "a b\n", "a line is not trn\n  where: PATH, line 1\n  expected: words (utterance_id)"),
    ],
)
def test_bad_lines_are_named_by_number(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(WrongCall) as error:
        read_transcripts(path)
    assert str(error.value).startswith(message.replace("PATH", str(path)))


def test_files_that_cannot_be_read_are_a_wrong_call(tmp_path: Path) -> None:
    with pytest.raises(WrongCall, match="a transcript file does not exist"):
        read_transcripts(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"utterance_id": "u1", "text": "caf\xe9"}')
    with pytest.raises(WrongCall, match="a transcript file cannot be read"):
        read_transcripts(tmp_path / "latin.jsonl")
    with pytest.raises(WrongCall, match="a transcript file cannot be read"):
        read_transcripts(tmp_path)
