"""Task success, groundedness, citation coverage and barge-in: what a turn counts for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.policy import MetricName
from evalpacks.metrics import METRICS, Evidence
from evalpacks.metrics.dialogue import cited_documents, holds, succeeds
from tests.evalpacks.metrics.evidence_samples import counted, make_evidence, take

NAMES: tuple[MetricName, ...] = ("task_success", "groundedness", "citation_coverage", "barge_in_success")


class Turn(NamedTuple):
    """What a pack says of a question, and what an assistant made of it."""

    answer: list[str]
    cites: list[str]
    reply: str
    citations: str = ""
    grounded: float = 1.0
    barged_in: float = float("nan")


RIGHT = Turn(["six pounds"], ["fees"], "It costs six pounds.", "fees#0")
WRONG = Turn(["six pounds"], ["fees"], "We open at six.", "hours#1")
DECLINED = Turn(["six pounds"], ["fees"], "I do not know.")
WELL_DECLINED = Turn([], [], "I do not know.")
MADE_UP = Turn([], [], "It costs six pounds.", "fees#0")
HELD_BACK = Turn(["six pounds"], ["fees"], "I do not know.", grounded=0.0)


def turns(*listed: Turn) -> Evidence:
    evidence = make_evidence([("", "")] * len(listed))
    table = pd.DataFrame(listed)
    evidence.utterances["answer"] = [json.dumps(turn.answer) for turn in listed]
    evidence.utterances["cites"] = [json.dumps(turn.cites) for turn in listed]
    measured = table[["reply", "citations", "grounded", "barged_in"]].assign(
        utterance_id=evidence.utterances["utterance_id"]
    )
    return replace(evidence, measured=measured)


@pytest.mark.parametrize(
    ("turn", "success", "grounded", "cited"),
    [
        (RIGHT, (1, 1), (1, 1), (1, 1)),
        (WRONG, (0, 1), (1, 1), (0, 1)),
        (DECLINED, (0, 1), (0, 0), (0, 1)),
        (WELL_DECLINED, (1, 1), (0, 0), (0, 0)),
        (MADE_UP, (0, 1), (1, 1), (0, 0)),
        (HELD_BACK, (0, 1), (0, 1), (0, 1)),
        (RIGHT._replace(cites=["fees", "hours"], citations="fees#0,fees#2"), (1, 1), (1, 1), (1, 2)),
        (RIGHT._replace(answer=["six pounds", "a year"]), (0, 1), (1, 1), (1, 1)),
    ],
    ids=["right", "wrong", "declined", "well declined", "made up", "held back", "half of the sources", "half told"],
)
def test_what_a_turn_counts_for(
    turn: Turn, success: tuple[int, int], grounded: tuple[int, int], cited: tuple[int, int]
) -> None:
    evidence = turns(turn)
    found = [counted(METRICS[name].measure(evidence))[0] for name in NAMES[:3]]
    assert found == [success, grounded, cited]


def test_only_turns_that_speak_over_a_reply_say_something_of_barge_in() -> None:
    evidence = turns(RIGHT, RIGHT._replace(barged_in=1.0), WRONG._replace(barged_in=0.0))
    assert counted(METRICS["barge_in_success"].measure(evidence)) == [(0, 0), (1, 1), (0, 1)]


@pytest.mark.parametrize(
    ("reply", "fact", "held"),
    [
        ("It costs SIX pounds, a year.", "six pounds a year", True),
        ("It costs sixty pounds.", "six", False),
        ("pounds six", "six pounds", False),
        ("", "six", False),
    ],
)
def test_a_fact_is_held_word_for_word(reply: str, fact: str, held: bool) -> None:
    assert holds(reply, fact) == held


def test_passages_lead_to_their_documents() -> None:
    assert cited_documents("fees#0,fees#12,opening-hours#1") == {"fees", "opening-hours"}
    assert cited_documents("") == set()


@pytest.mark.parametrize(
    ("column", "needs"),
    [("reply", NAMES[:1]), ("citations", NAMES[:3]), ("grounded", NAMES[1:2])],
)
def test_a_measured_column_that_is_missing_is_no_evidence(column: str, needs: tuple[str, ...]) -> None:
    whole = turns(RIGHT)
    assert whole.measured is not None
    part = replace(whole, measured=whole.measured.drop(columns=column))
    for name in NAMES[:3]:
        assert (METRICS[name].measure(part) is None) == (name in needs)


Some = st.lists(st.sampled_from([RIGHT, WRONG, DECLINED, WELL_DECLINED, MADE_UP, HELD_BACK]), min_size=1, max_size=8)


@pytest.mark.parametrize("name", NAMES)
@given(listed=Some, cut=st.integers(0, 8), barged=st.sampled_from([0.0, 1.0]))
@settings(deadline=None, max_examples=25)
def test_counts_are_shares_that_add_up_and_follow_their_turns(
    name: MetricName, listed: list[Turn], cut: int, barged: float
) -> None:
    listed = [turn._replace(barged_in=barged) for turn in listed]
    whole = counted(METRICS[name].measure(turns(*listed)))
    backwards = np.arange(len(listed))[::-1].copy()
    assert counted(METRICS[name].measure(take(turns(*listed), backwards))) == whole[::-1]
    assert all(0 <= part <= of for part, of in whole)
    halves = [half for half in (listed[:cut], listed[cut:]) if half]
    assert [pair for half in halves for pair in counted(METRICS[name].measure(turns(*half)))] == whole


@given(listed=Some)
@settings(deadline=None, max_examples=25)
def test_a_client_counts_success_as_the_release_does(listed: list[Turn]) -> None:
    counts = METRICS["task_success"].measure(turns(*listed))
    assert counts is not None
    assert counts.numerator.tolist() == [succeeds(turn.answer, turn.reply, turn.citations) for turn in listed]
