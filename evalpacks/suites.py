"""What tables must satisfy, as Great Expectations suites in their own JSON form.

Purpose: one source of truth, plain data: `expectations.py` runs a suite, and a pack keeps its own, so that anyone with
Great Expectations can run it. Writing one does not import Great Expectations.
Boundary: pure; what is known of a table in, a suite out.
Invariants: a suite names columns, bounds and forms, never a value of a person.
Source: Great Expectations 1.x, `ExpectationSuite.to_json_dict`; release-algorithm R1.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

MAX_UTTERANCE_S = 600.0
"""Longest training utterance in seconds."""
MAX_PACK_UTTERANCE_S = 3600.0
"""Longest utterance of an eval pack in seconds; dictation is longer than what a model is trained on."""

Suite = dict[str, Any]
"""A suite as `ExpectationSuite.to_json_dict` writes it: name, expectations (type, kwargs, meta), meta, notes."""

SHA256 = r"^[0-9a-f]{64}\Z"
_FILLED = r"\S"
_MANIFEST_TEXTS = ("utterance_id", "path", "text", "speaker", "language", "split", "licence")
_PACK_TEXTS = ("utterance_id", "path", "text", "speaker", "language")
_ROW_RIGHTS = ("licence", "consent")
MANIFEST_COLUMNS = (*_MANIFEST_TEXTS, "sha256", "duration_s", "sample_rate_hz")
"""Columns of a training data manifest."""


def data_manifest(rates: Sequence[int]) -> Suite:
    """The suite of a training data manifest whose audio has these rates (Hz)."""
    return _suite("data_manifest", _MANIFEST_TEXTS, rates=rates, longest_s=MAX_UTTERANCE_S)


def pack(*, rates: Sequence[int], slices: Sequence[str], slice_value: str, columns: Iterable[str]) -> Suite:
    """The suite of a pack's utterances.parquet.

    Args:
        rates: declared sample rates, Hz.
        slices: slice columns; `slice_value` is the regular expression of their values.
        columns: columns of the table; where it has a licence or a consent of each row, none may be empty.
    """
    rights = [column for column in _ROW_RIGHTS if column in set(columns)]
    suite = _suite("utterances", (*_PACK_TEXTS, *rights), rates=rates, longest_s=MAX_PACK_UTTERANCE_S)
    suite["expectations"] += [
        _expectation("expect_column_values_to_match_regex", column=column, regex=rf"^{slice_value}\Z")
        for column in slices
    ]
    return suite


def is_suite(value: object) -> bool:
    """Whether parsed JSON has the form of a suite."""
    if not isinstance(value, dict) or not isinstance(value.get("expectations"), list):
        return False
    return all(
        isinstance(one, dict) and isinstance(one.get("type"), str) and isinstance(one.get("kwargs"), dict)
        for one in value["expectations"]
    )


def added(stored: Suite, standard: Suite) -> Suite:
    """The stored suite without what the standard one has: what people added to it."""
    known = [_meaning(expectation) for expectation in standard["expectations"]]
    kept = [expectation for expectation in stored["expectations"] if _meaning(expectation) not in known]
    return {**stored, "expectations": kept}


def _suite(name: str, texts: Sequence[str], *, rates: Sequence[int], longest_s: float) -> Suite:
    columns = (*texts, "sha256", "duration_s", "sample_rate_hz")
    expectations = [
        *(_expectation("expect_column_values_to_not_be_null", column=column) for column in columns),
        *(_expectation("expect_column_values_to_match_regex", column=column, regex=_FILLED) for column in texts),
        _expectation("expect_column_values_to_be_unique", column="utterance_id"),
        _expectation("expect_column_values_to_match_regex", column="sha256", regex=SHA256),
        _expectation(
            "expect_column_values_to_be_between",
            column="duration_s", min_value=0.0, strict_min=True, max_value=longest_s,
        ),
        _expectation("expect_column_values_to_be_in_set", column="sample_rate_hz", value_set=list(rates)),
    ]  # fmt: skip
    return {"name": name, "expectations": expectations, "meta": {}, "notes": None}


def _expectation(kind: str, **kwargs: object) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "meta": {}}


def _meaning(expectation: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return expectation["type"], expectation["kwargs"]
