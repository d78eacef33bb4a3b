"""Suites of Great Expectations, run: of a training data manifest (R1.1) and of a pack's utterance table.

Boundary: the only module that imports great_expectations, inside functions, because the import takes 6 s; the
validation itself takes under 0.1 s for 5,000 rows. Nothing is written and nothing leaves the process: the data context
is ephemeral, analytics are off before the import. What is expected is data of evalpacks/suites.py.
Invariants: a message names expectations, columns and counts, never a value, since values hold transcripts and
pseudonyms (fault 62); an expectation that Great Expectations does not know, or that raises, is not met.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from contracts.errors import Refused
from evalpacks import suites

if TYPE_CHECKING:
    import pandas as pd


class Failed(NamedTuple):
    """One expectation that is not met: its type, its column, how many rows break it, and which, by utterance_id."""

    expectation: str
    column: str
    rows: int
    utterances: tuple[str, ...]


def check_data_manifest(frame: pd.DataFrame, *, rates: Sequence[int], where: str) -> None:
    """Check one row a training utterance: unique ids, text, speaker, consent or licence present, durations within
    bounds (seconds), rates (Hz) as in the feature contract. Raises Refused naming every expectation that failed."""
    missing = [column for column in suites.MANIFEST_COLUMNS if column not in frame.columns]
    if missing:
        raise Refused(
            "the data manifest lacks columns",
            where=where,
            got="missing: " + ", ".join(missing),
            expected=", ".join(suites.MANIFEST_COLUMNS),
            next_step="let training write every column, one row an utterance",
        )
    if frame.empty:
        raise Refused("the data manifest is empty", where=where, got="0 rows", expected="one row a training utterance")
    failed = failed_expectations(frame, suites.data_manifest(rates), where=where)
    if failed:
        longest_s = suites.MAX_UTTERANCE_S
        raise Refused(
            f"the data manifest fails {len(failed)} expectation{'' if len(failed) == 1 else 's'} (R1.1)",
            where=where,
            got="; ".join(f"{one.expectation} on {one.column}: {one.rows} of {len(frame)} rows" for one in failed),
            expected=f"unique ids, no gaps, durations in (0, {longest_s:g}] s, rates of {sorted(rates)} Hz",
            next_step="correct these rows of the data manifest, then train again",
        )


def failed_expectations(frame: pd.DataFrame, suite: suites.Suite, *, where: str) -> list[Failed]:
    """Every expectation of the suite that the table, which has a column utterance_id, does not meet.

    Raises Refused where the suite holds an expectation that Great Expectations does not know or cannot read.
    """
    batch = _whole_table().get_batch(batch_parameters={"dataframe": frame})
    import great_expectations as gx

    known = gx.ExpectationSuite(
        name=suite["name"], expectations=[_known(one, where=where) for one in suite["expectations"]]
    )
    outcome = batch.validate(
        known, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["utterance_id"]}
    )
    return [_failed(result, len(frame)) for result in outcome.results if not result.success]


@lru_cache(maxsize=1)
def _whole_table() -> Any:
    """How Great Expectations takes a table that is in memory; one context serves a whole process."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("table")
    return asset.add_batch_definition_whole_dataframe("all")


def _known(expectation: dict[str, Any], *, where: str) -> Any:
    """The expectation as Great Expectations has it; its suites drop one that they do not know with a log line only."""
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        return ExpectationConfiguration(type=expectation["type"], kwargs=expectation["kwargs"]).to_domain_obj()
    except (GreatExpectationsError, ValueError, TypeError):
        raise Refused(
            "a suite holds an expectation that Great Expectations cannot read",
            where=where,
            got=str(expectation["type"]),
            expected="a type of Great Expectations 1.x with its own arguments",
            next_step="correct or remove the expectation",
        ) from None


def _failed(result: Any, rows: int) -> Failed:
    """An expectation that raised (a column of the wrong type) fails on every row."""
    config = result.expectation_config
    broken = [str(row["utterance_id"]) for row in result.result.get("unexpected_index_list") or ()]
    count = int(result.result.get("unexpected_count", rows))
    return Failed(config.type, str(config.kwargs.get("column", "the table")), count, tuple(broken))
