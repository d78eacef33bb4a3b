"""The Great Expectations suites of a training data manifest (R1.1) and of a pack."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from contracts.errors import Refused
from evalpacks import suites
from evalpacks.expectations import check_data_manifest, failed_expectations
from evalpacks.pack import SLICE_VALUE
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


def pack_suite(**changes: Any) -> suites.Suite:
    known: dict[str, Any] = {"rates": [16000], "slices": ["accent"], "slice_value": SLICE_VALUE, "columns": []}
    return suites.pack(**(known | changes))


def test_a_pack_that_is_whole_meets_its_suite() -> None:
    assert failed_expectations(make_table(), pack_suite(), where="suite") == []


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (setting("utterance_id", "u00000"), ("expect_column_values_to_be_unique", "utterance_id", 2)),
        (setting("text", " "), ("expect_column_values_to_match_regex", "text", 1)),
        (setting("speaker", None), ("expect_column_values_to_not_be_null", "speaker", 1)),
        (setting("sample_rate_hz", 8000), ("expect_column_values_to_be_in_set", "sample_rate_hz", 1)),
        (setting("duration_s", 3601.0), ("expect_column_values_to_be_between", "duration_s", 1)),
        (setting("sha256", "f" * 63), ("expect_column_values_to_match_regex", "sha256", 1)),
        (setting("accent", "US"), ("expect_column_values_to_match_regex", "accent", 1)),
        (setting("accent", "us\n"), ("expect_column_values_to_match_regex", "accent", 1)),
        (lambda table: table.drop(columns="accent"), ("expect_column_values_to_match_regex", "accent", 288)),
    ],
)
def test_what_a_pack_does_not_meet_is_named(change: Change, failed: tuple[str, str, int]) -> None:
    (one,) = failed_expectations(change(make_table()), pack_suite(), where="suite")
    assert (one.expectation, one.column, one.rows) == failed


def test_rows_are_named_by_their_utterance() -> None:
    (one,) = failed_expectations(setting("text", " ")(make_table()), pack_suite(), where="suite")
    assert one.utterances == ("u00003",)


@pytest.mark.parametrize(("column", "checked"), [("licence", True), ("consent", True), ("remark", False)])
def test_rights_of_rows_are_checked_where_the_table_has_them(column: str, checked: bool) -> None:
    table = make_table().assign(**{column: ""})
    failed = failed_expectations(table, pack_suite(columns=table.columns), where="suite")
    assert bool(failed) == checked


def test_a_suite_is_what_great_expectations_reads() -> None:
    import great_expectations

    suite = pack_suite()
    read = great_expectations.ExpectationSuite(**json.loads(json.dumps(suite)))
    assert [(one.expectation_type, one.configuration.kwargs) for one in read.expectations] == [
        (one["type"], one["kwargs"]) for one in suite["expectations"]
    ]


def test_what_people_added_is_told_from_the_standard() -> None:
    own = {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "accent", "value_set": ["us"]}, "meta": {}}
    standard = pack_suite()
    stored = {**standard, "expectations": [*standard["expectations"][3:], own]}
    assert suites.added(stored, standard)["expectations"] == [own]
    assert suites.added(standard, standard)["expectations"] == []


def test_an_expectation_that_does_not_exist_is_refused() -> None:
    suite = {"name": "own", "expectations": [{"type": "expect_wonders", "kwargs": {}}]}
    with pytest.raises(Refused, match=r"cannot read\n  where: suite\n  got: expect_wonders\n"):
        failed_expectations(make_table(), suite, where="suite")
