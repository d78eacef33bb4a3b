"""The Great Expectations suite of a training data manifest (R1.1)."""

from __future__ import annotations

import os
from collections.abc import Callable

import pandas as pd
import pytest

from contracts.errors import Refused
from evalpacks.expectations import check_data_manifest
from tests.evalpacks.evaluation_samples import make_table

WHERE = "candidates/asr-commands/v1/data_manifest.parquet"
Change = Callable[[pd.DataFrame], pd.DataFrame]


def manifest() -> pd.DataFrame:
    return make_table().drop(columns=["accent", "noise"]).assign(split="train", licence="Apache-2.0")


def setting(column: str, value: str | float | None, row: int = 3) -> Change:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        values = frame[column].tolist()
        values[row] = value
        return frame.assign(**{column: values})

    return change


def refusal(frame: pd.DataFrame) -> Refused:
    with pytest.raises(Refused) as error:
        check_data_manifest(frame, rates=(16000,), where=WHERE)
    assert error.value.where == WHERE
    return error.value


def test_a_manifest_that_is_whole_is_accepted(capfd: pytest.CaptureFixture[str]) -> None:
    check_data_manifest(manifest(), rates=(8000, 16000), where=WHERE)
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (setting("utterance_id", "u00000"), "expect_column_values_to_be_unique on utterance_id: 2 of 288 rows"),
        (setting("licence", None), "expect_column_values_to_not_be_null on licence: 1 of 288 rows"),
        (setting("licence", ""), "expect_column_values_to_match_regex on licence: 1 of 288 rows"),
        (setting("text", "  "), "expect_column_values_to_match_regex on text: 1 of 288 rows"),
        (setting("speaker", None), "expect_column_values_to_not_be_null on speaker: 1 of 288 rows"),
        (setting("sha256", "xyz"), "expect_column_values_to_match_regex on sha256: 1 of 288 rows"),
        (setting("duration_s", 0.0), "expect_column_values_to_be_between on duration_s: 1 of 288 rows"),
        (setting("duration_s", 601.0), "expect_column_values_to_be_between on duration_s: 1 of 288 rows"),
        (setting("duration_s", None), "expect_column_values_to_not_be_null on duration_s: 1 of 288 rows"),
        (setting("sample_rate_hz", 12000), "expect_column_values_to_be_in_set on sample_rate_hz: 1 of 288 rows"),
        (
            lambda frame: frame.assign(duration_s="long"),
            "expect_column_values_to_be_between on duration_s: 288 of 288 rows",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_count(change: Change, got: str) -> None:
    error = refusal(change(manifest()))
    assert error.what == "the data manifest fails 1 expectation (R1.1)"
    assert error.got == got


def test_all_failures_are_reported_at_once() -> None:
    error = refusal(setting("licence", None)(setting("sample_rate_hz", 12000)(manifest())))
    assert error.what == "the data manifest fails 2 expectations (R1.1)"
    assert "licence" in error.got
    assert "sample_rate_hz" in error.got


def test_missing_columns_are_named() -> None:
    error = refusal(manifest().drop(columns=["licence", "sha256"]))
    assert (error.what, error.got) == ("the data manifest lacks columns", "missing: licence, sha256")


def test_an_empty_manifest_is_refused() -> None:
    assert refusal(manifest().iloc[:0]).what == "the data manifest is empty"


def test_messages_hold_no_value() -> None:
    planted = "call me on 0151 496 0000"
    error = refusal(setting("utterance_id", planted, row=4)(setting("utterance_id", planted)(manifest())))
    assert planted not in str(error)
