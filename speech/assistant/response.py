"""The response step: from a question and the passages that were found to what is said, with its sources.

Boundary: no I/O here; a language model that plugs in does its own.
Invariants: every statement of a draft names the passages that it rests on; a responder that has no answer says so by
giving no draft, and never makes one up; phrases that state nothing (no answer, please repeat) are fixed texts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from speech.assistant.documents import sentences
from speech.assistant.retrieval import Found, Retriever

NOT_HEARD = "Sorry, I did not hear a question. Please say it again."
NO_ANSWER = "I have no answer to that. I will connect you to a colleague."
TO_A_PERSON = "I will connect you to a colleague."

_PERSON = re.compile(
    r"\b(?:speak|talk|connect|transfer)\b.*\b(?:person|human|somebody|someone|colleague|operator)\b", re.I
)


class Statement(NamedTuple):
    """One sentence of a reply, and the ids of the passages that it rests on."""

    text: str
    citations: tuple[str, ...]


class Draft(NamedTuple):
    """What a responder would say; `tokens` is what a language model was given and gave, 0 where none was asked."""

    statements: tuple[Statement, ...]
    tokens: int = 0

    @property
    def text(self) -> str:
        """As it is spoken."""
        return " ".join(statement.text for statement in self.statements)

    @property
    def citations(self) -> tuple[str, ...]:
        """Ids of all cited passages, each once, in order."""
        return tuple(dict.fromkeys(name for statement in self.statements for name in statement.citations))


class Responder(Protocol):
    """Writes replies. What it writes is checked before it is said (speech/assistant/grounding.py)."""

    def draft(self, question: str, found: Sequence[Found], retriever: Retriever) -> Draft | None:
        """A reply that rests on the passages found, best first; None where they do not answer the question."""
        ...


class Quoting:
    """The responder that ships: it says the sentence that covers most of the question, word for word.

    Args:
        answer_above: the share of the question's weight that a passage must cover, in [0, 1].
    """

    def __init__(self, answer_above: float) -> None:
        self._answer_above = answer_above

    def draft(self, question: str, found: Sequence[Found], retriever: Retriever) -> Draft | None:
        """One sentence of the passage that covers most; of several alike the one found first."""
        if not found or max(one.covered for one in found) < self._answer_above:
            return None
        choices = [(one, sentence) for one in found for sentence in sentences(one.passage.text)]
        best, said = max(choices, key=lambda pair: retriever.covered(question, f"{pair[0].passage.title} {pair[1]}"))
        return Draft((Statement(said, (best.passage.id,)),))


def asks_for_a_person(text: str) -> bool:
    """Whether somebody wants to be connected to a person.

    >>> asks_for_a_person("Can I speak to a real person?"), asks_for_a_person("Is there a person in the library?")
    (True, False)
    """
    return _PERSON.search(text) is not None
