"""Transcripts as people have them: the three file formats, and bad lines named by number."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import WrongCall
from evalpacks.transcript_scores import score_transcripts
from evalpacks.transcripts import read_transcripts

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


def test_a_field_that_some_lines_lack_is_none_there(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(JSON_LINES)
    assert read_transcripts(tmp_path / "r.jsonl").to_dict("records") == [
        {"utterance_id": "u1", "text": "a b", "accent": "us"},
        {"utterance_id": "u2", "text": "", "accent": None},
    ]


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
        ("t.jsonl", '{"utterance_id": ["u1"], "text": "x"}', "a line has no utterance_id"),
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
