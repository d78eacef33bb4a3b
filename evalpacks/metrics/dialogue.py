"""Did a spoken assistant do what was asked: task success, groundedness, citations, barge-in.

Boundary: pure; the pack's columns and the measured ones in, counts per utterance out.
Invariants: whether a reply succeeds is decided by the pack's facts and not by what the assistant thinks of itself;
questions that nobody asked it to answer say nothing of citations; replies that state nothing say nothing of grounds.

Columns of the pack: `answer`, a JSON list of facts that a right reply holds, empty for a question that the tenant's
documents do not answer; `cites`, a JSON list of the documents that it rests on; `interrupts`, the recording whose reply
this utterance speaks over, empty for none.
Measured columns (speech/kinds/dialogue.py): `reply`, `citations` (passage ids, joined by commas; a passage's document
stands before its `#`), `grounded`, `barged_in`.
Source: groundedness and citation recall as in Gao et al. 2023, "Enabling Large Language Models to Generate Text with
Citations" (ALCE), the first over replies and the second over documents that a pack says are needed; declining a
question without an answer counts as in Rajpurkar et al. 2018, "Know What You Don't Know" (SQuAD 2.0).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np

from evalpacks.metrics.metric import Counts, Evidence, Floats, Metric

ANSWER, CITES, INTERRUPTS = "answer", "cites", "interrupts"
_WORD = re.compile(r"\w+")


def holds(reply: str, fact: str) -> bool:
    """Whether the words of a fact stand in a reply, in order and together.

    >>> holds("It costs Six pounds.", "six pounds"), holds("It costs sixty pounds.", "six")
    (True, False)
    """
    return f" {_words(fact)} " in f" {_words(reply)} "


def cited_documents(citations: str) -> set[str]:
    """The documents of passage ids.

    >>> sorted(cited_documents("fees#0,fees#1,hours#3"))
    ['fees', 'hours']
    """
    return {name.split("#")[0] for name in citations.split(",") if name}


def succeeds(facts: Sequence[str], reply: str, citations: str) -> bool:
    """Whether a turn did its task: every fact is said; where there is none to say, nothing is stated of a document.

    >>> succeeds(["six pounds"], "It costs six pounds.", "fees#0"), succeeds([], "It costs six pounds.", "fees#0")
    (True, False)
    """
    return all(holds(reply, fact) for fact in facts) if facts else not citations


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))


def _texts(evidence: Evidence, name: str) -> list[str] | None:
    """A measured column of text."""
    measured = evidence.measured
    return None if measured is None or name not in measured.columns else [str(value) for value in measured[name]]


def _lists(evidence: Evidence, name: str) -> list[list[str]] | None:
    """A column of the pack that holds JSON lists."""
    table = evidence.utterances
    return None if name not in table.columns else [json.loads(value) for value in table[name]]


def _counts(numerator: Sequence[float] | Floats, denominator: Sequence[float] | Floats) -> Counts:
    return Counts(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))


def _task_success(evidence: Evidence) -> Counts | None:
    answers, replies, citations = _lists(evidence, ANSWER), _texts(evidence, "reply"), _texts(evidence, "citations")
    if answers is None or replies is None or citations is None:
        return None
    done = [succeeds(*turn) for turn in zip(answers, replies, citations, strict=True)]
    return _counts(done, np.ones(len(done)))


def _groundedness(evidence: Evidence) -> Counts | None:
    """Of the replies that state something, or would have: those that stand in what they cite."""
    grounded, citations = evidence.column("grounded"), _texts(evidence, "citations")
    if grounded is None or citations is None:
        return None
    states = np.array([bool(cited) for cited in citations]) | (grounded == 0)
    return _counts((grounded > 0) & states, states)


def _citation_coverage(evidence: Evidence) -> Counts | None:
    """Of the documents that an answer rests on: those that the reply cites."""
    needed, citations = _lists(evidence, CITES), _texts(evidence, "citations")
    if needed is None or citations is None:
        return None
    cited = [cited_documents(said) for said in citations]
    return _counts(
        [len(set(documents) & found) for documents, found in zip(needed, cited, strict=True)],
        [len(set(documents)) for documents in needed],
    )


def _barge_in(evidence: Evidence) -> Counts | None:
    """Of the utterances spoken over a reply: those that are answered as they are when nobody speaks."""
    answered = evidence.column("barged_in")
    return None if answered is None else _counts(answered == 1, ~np.isnan(answered))


TASK_SUCCESS = Metric("task_success", "task success", "higher", _task_success, 100.0, "%", " points", "turns")
GROUNDEDNESS = Metric(
    "groundedness", "groundedness", "higher", _groundedness, 100.0, "%", " points", "replies that state something"
)
CITATION_COVERAGE = Metric(
    "citation_coverage", "citation coverage", "higher", _citation_coverage, 100.0, "%", " points", "documents needed"
)
BARGE_IN_SUCCESS = Metric(
    "barge_in_success", "barge-in success", "higher", _barge_in, 100.0, "%", " points", "turns spoken over a reply"
)

DIALOGUE = (TASK_SUCCESS, GROUNDEDNESS, CITATION_COVERAGE, BARGE_IN_SUCCESS)
"""What a dialogue is measured by."""
