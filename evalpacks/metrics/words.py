"""Word errors: substitutions, deletions and insertions per utterance (U3).

Boundary: pure; lists of normalised texts in, integer arrays out.
Invariants: of all alignments with the fewest edits the one with the fewest substitutions is counted, so S, D and I do
not depend on the path; S + D <= N; N - D + I is the number of hypothesis words; how the work is shared out changes
nothing.
Method: one dynamic program over the cost `edits * 2**32 + substitutions`, so a single number orders alignments as U3
asks; with lengths n and m the minimum gives S, and D - I = n - m gives D and I. Common first and last words never
change the minimum and are skipped. Words become numbers first. Where there is enough work to repay the compiler's
import, both are compiled and run over chunks of pairs, one thread a core.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
"""One number an utterance, shape (utterances,)."""

_COMPILE_PAIRS = 20_000
_COMPILE_CHARACTERS = 100_000_000
"""From so many pairs, or so many pairs of characters in texts that differ, the compiled program is used. In Python that
much takes about a second; importing the compiler and reading its cache takes as long."""

_CHUNK_PAIRS = 8192
"""Pairs that one thread copies and aligns at a time: what is held beside the texts themselves."""

_EDIT = 1 << 32


class WordEdits(NamedTuple):
    """Counts per utterance, each of shape (utterances,)."""

    substitutions: Counts
    deletions: Counts
    insertions: Counts
    reference_words: Counts

    @property
    def errors(self) -> Counts:
        """S + D + I per utterance."""
        return self.substitutions + self.deletions + self.insertions


def edit_counts(references: Sequence[str], hypotheses: Sequence[str]) -> WordEdits:
    """S, D, I and N of each pair of normalised texts; words are what `str.split` yields.

    >>> edits = edit_counts(["turn the light on", ""], ["turn light off now", "hello"])
    >>> edits.substitutions.tolist(), edits.deletions.tolist(), edits.insertions.tolist()
    ([1, 0], [1, 0], [1, 1])
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses")
    measure = _measure_compiled if _repays_compiling(references, hypotheses) else _measure
    costs, reference_words, hypothesis_words = measure(references, hypotheses)
    edits, substitutions = costs // _EDIT, costs % _EDIT
    deletions = (edits - substitutions + reference_words - hypothesis_words) // 2
    return WordEdits(substitutions, deletions, edits - substitutions - deletions, reference_words)


def word_edits(reference: str, hypothesis: str) -> int:
    """The least number of word edits between two normalised texts.

    >>> word_edits("turn the light on", "turn light off now")
    3
    """
    return int(edit_counts([reference], [hypothesis]).errors[0])


def _alignment_costs(words: Any, offsets: Any, row: Any, costs: Any) -> None:
    """Fill `costs` (pairs,): the least edits * _EDIT + substitutions of text 2 i against text 2 i + 1.

    `words` are word numbers, text i spans offsets[i]:offsets[i + 1]; `row` is a work space longer than any text. The
    same code runs on lists and, compiled, on arrays.
    """
    for pair in range(len(costs)):
        first, last = offsets[2 * pair], offsets[2 * pair + 1]
        start, end = last, offsets[2 * pair + 2]
        while first < last and start < end and words[first] == words[start]:
            first += 1
            start += 1
        while first < last and start < end and words[last - 1] == words[end - 1]:
            last -= 1
            end -= 1
        width = end - start
        for column in range(width + 1):
            row[column] = column * _EDIT
        for position in range(first, last):
            diagonal = row[0]
            row[0] = diagonal + _EDIT
            word = words[position]
            for column in range(width):
                above = row[column + 1]
                best = diagonal if word == words[start + column] else diagonal + _EDIT + 1
                gap = (above if above < row[column] else row[column]) + _EDIT
                row[column + 1] = best if best < gap else gap
                diagonal = above
        costs[pair] = row[width]


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., None]:
    import numba

    compiled: Callable[..., None] = numba.njit(cache=True, nogil=True)(_alignment_costs)
    return compiled


def _repays_compiling(references: Sequence[str], hypotheses: Sequence[str]) -> bool:
    if len(references) >= _COMPILE_PAIRS:
        return True
    differing = (len(left) * len(right) for left, right in zip(references, hypotheses, strict=True) if left != right)
    return sum(differing) >= _COMPILE_CHARACTERS


def _measure(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[Counts, Counts, Counts]:
    """Alignment costs, reference words and hypothesis words, each of shape (utterances,)."""
    numbers: dict[str, int] = {}
    words: list[int] = []
    offsets = [0]
    for pair in zip(references, hypotheses, strict=True):
        for text in pair:
            words.extend(numbers.setdefault(word, len(numbers)) for word in text.split())
            offsets.append(len(words))
    limits = np.array(offsets, dtype=np.int64)
    lengths = limits[1:] - limits[:-1]
    costs = [0] * len(references)
    _alignment_costs(words, offsets, [0] * (int(lengths.max(initial=0)) + 1), costs)
    return np.array(costs, dtype=np.int64), lengths[0::2], lengths[1::2]


def _measure_compiled(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[Counts, Counts, Counts]:
    """The same, compiled, in chunks."""
    from evalpacks.metrics.word_numbers import number_words

    align = _compiled()
    costs, reference_words, hypothesis_words = np.empty((3, len(references)), dtype=np.int64)

    def fill(first: int) -> None:
        chunk = slice(first, first + _CHUNK_PAIRS)
        words, offsets, shared = number_words(*_utf8([*references[chunk], *hypotheses[chunk]]))
        lengths = np.diff(offsets)
        reference_words[chunk] = shared + lengths[0::2]
        hypothesis_words[chunk] = shared + lengths[1::2]
        align(words, offsets, np.empty(lengths.max() + 1, dtype=np.int64), costs[chunk])

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(fill, range(0, len(references), _CHUNK_PAIRS)))
    return costs, reference_words, hypothesis_words


def _utf8(texts: list[str]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of all texts behind each other, and offsets (texts + 1,) of each text."""
    import pyarrow as pa

    try:
        array = pa.array(texts, type=pa.large_string())
    except UnicodeEncodeError:  # a lone surrogate, which JSON can spell
        array = pa.array([text.encode("utf-8", "surrogatepass") for text in texts], type=pa.large_binary())
    _, offsets, data = array.buffers()
    return np.frombuffer(data or b"", dtype=np.uint8), np.frombuffer(offsets, dtype=np.int64)[: len(texts) + 1]
