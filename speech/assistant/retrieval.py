"""Which passages a spoken question is about: BM25 over words, or over pieces of words.

Boundary: no I/O; pure once it is made.
Invariants: equal scores keep the order of the index; the share of a question that a passage covers is in [0, 1].
Source: Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond"; character n-grams within
words as terms, which survive inflection and misrecognised letters: McNamee and Mayfield 2004, "Character N-Gram
Tokenization for European Language Text Retrieval".
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from speech.assistant.index import IndexedPassage

Analyser = Literal["words", "trigrams"]
"""What terms are: whole words, or the runs of three letters in them (word borders count as letters)."""

_TOKEN = re.compile(r"[a-z0-9]+")
_GRAM = 3
STOP_WORDS = frozenset({
    "a", "about", "am", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "could", "did", "do",
    "does", "for", "from", "had", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "just", "many",
    "may", "me", "might", "much", "must", "my", "of", "on", "or", "our", "out", "please", "shall", "she", "should",
    "so", "some", "tell", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those",
    "to", "up", "us", "was", "we", "were", "what", "when", "where", "which", "who", "whom", "whose", "why", "will",
    "with", "would", "you", "your",
})  # fmt: skip
"""Words that say nothing of what a question is about."""


class Found(NamedTuple):
    """A passage, its BM25 score, and the share of the question's weight that stands in it."""

    passage: IndexedPassage
    score: float
    covered: float


def words(text: str) -> list[str]:
    """Words that say something, lower case.

    >>> words("What does a LATE book cost?")
    ['late', 'book', 'cost']
    """
    return [word for word in _TOKEN.findall(text.lower().replace("'", "")) if word not in STOP_WORDS]


def trigrams(text: str) -> list[str]:
    """The runs of three letters of these words, each with its borders.

    >>> trigrams("a card")
    ['_ca', 'car', 'ard', 'rd_']
    """
    bordered = [f"_{word}_" for word in words(text)]
    return [word[at : at + _GRAM] for word in bordered for at in range(len(word) - _GRAM + 1)]


_ANALYSERS: dict[Analyser, Callable[[str], list[str]]] = {"words": words, "trigrams": trigrams}


class Retriever:
    """Passages of one index, searchable.

    Args:
        passages: of the index.
        analyser: what a term is.
        k1: how soon a repeated term stops counting.
        b: how much long passages are held back, 0 to 1.
    """

    def __init__(
        self, passages: Sequence[IndexedPassage], analyser: Analyser, *, k1: float = 1.2, b: float = 0.75
    ) -> None:
        self._passages = passages
        self._terms = _ANALYSERS[analyser]
        self._k1, self._b = k1, b
        self._counts = [Counter(self._terms(f"{one.title} {one.text}")) for one in passages]
        self._lengths = [sum(counts.values()) for counts in self._counts]
        self._mean = sum(self._lengths) / max(1, len(passages))
        self._frequency = Counter(term for counts in self._counts for term in counts)

    def search(self, question: str, limit: int) -> list[Found]:
        """The best passages first, at most `limit`, none that shares no term with the question."""
        asked = list(dict.fromkeys(self._terms(question)))
        whole = sum(self.weight(term) for term in asked)
        found = [
            Found(passage, self._score(asked, place), self._shared(asked, self._counts[place]) / whole)
            for place, passage in enumerate(self._passages)
            if any(term in self._counts[place] for term in asked)
        ]
        return sorted(found, key=lambda one: -one.score)[:limit]

    def covered(self, question: str, text: str) -> float:
        """The share of a question's weight that stands in a text, 0 for a question of nothing but stop words."""
        asked = set(self._terms(question))
        whole = sum(self.weight(term) for term in asked)
        return self._shared(asked, Counter(self._terms(text))) / whole if whole else 0.0

    def weight(self, term: str) -> float:
        """Inverse document frequency, above 0 also for terms of every passage."""
        there = self._frequency[term]
        return math.log(1 + (len(self._passages) - there + 0.5) / (there + 0.5))

    def _shared(self, asked: Sequence[str] | set[str], counts: Counter[str]) -> float:
        return sum(self.weight(term) for term in asked if term in counts)

    def _score(self, asked: Sequence[str], place: int) -> float:
        counts = self._counts[place]
        length = self._k1 * (1 - self._b + self._b * self._lengths[place] / self._mean)
        return sum(
            self.weight(term) * counts[term] * (self._k1 + 1) / (counts[term] + length)
            for term in asked
            if term in counts
        )
