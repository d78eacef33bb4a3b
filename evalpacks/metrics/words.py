"""Word errors: substitutions, deletions and insertions per utterance (U3).

Boundary: pure; lists of normalised texts in, integer arrays out.
Invariants: of all alignments with the fewest edits the one with the fewest substitutions is counted, so S, D and I do
not depend on the path; S + D <= N; N - D + I is the number of hypothesis words.
Method: one dynamic program over the cost `edits * 2**32 + substitutions`, so a single number orders alignments as U3
asks; with lengths n and m the minimum gives S, and D - I = n - m gives D and I. Common first and last words never
change the minimum and are skipped. Words become integers first; the program runs over flat arrays with offsets,
compiled where there is enough work to repay the compiler's import (`_COMPILE_CELLS`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
"""One number an utterance, shape (utterances,)."""

_COMPILE_CELLS = 5_000_000
"""Cells of the dynamic program from which on it is compiled. Measured: 0.2 us a cell in Python, most of them skipped
where texts agree; importing the compiler and reading its cache takes 1.5 s."""

_ARROW_TEXTS = 20_000
"""Texts from which on splitting and interning in Arrow is faster than a dictionary."""

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
    words, offsets = _intern([*references, *hypotheses])
    count = len(references)
    lengths = np.diff(offsets)
    reference_words, hypothesis_words = lengths[:count], lengths[count:]
    longest = int(hypothesis_words.max(initial=0))
    cells = int(((reference_words + 1) * (hypothesis_words + 1)).sum())
    if cells > _COMPILE_CELLS:
        costs = np.zeros(count, dtype=np.int64)
        _compiled()(words, offsets, count, np.zeros(longest + 1, dtype=np.int64), costs)
    else:
        listed = [0] * count
        _alignment_costs(words.tolist(), offsets.tolist(), count, [0] * (longest + 1), listed)
        costs = np.array(listed, dtype=np.int64)
    edits, substitutions = costs // _EDIT, costs % _EDIT
    deletions = (edits - substitutions + reference_words - hypothesis_words) // 2
    return WordEdits(substitutions, deletions, edits - substitutions - deletions, reference_words)


def word_edits(reference: str, hypothesis: str) -> int:
    """The least number of word edits between two normalised texts.

    >>> word_edits("turn the light on", "turn light off now")
    3
    """
    return int(edit_counts([reference], [hypothesis]).errors[0])


def _alignment_costs(words: Any, offsets: Any, count: int, row: Any, costs: Any) -> None:
    """Fill `costs` (count,): the least edits * _EDIT + substitutions of text i against text count + i.

    `words` (words,) are word ids, text i spans offsets[i]:offsets[i + 1]; `row` is a work space longer than any
    hypothesis. The same code runs on lists and, compiled, on arrays.
    """
    for pair in range(count):
        first, last = offsets[pair], offsets[pair + 1]
        start, end = offsets[count + pair], offsets[count + pair + 1]
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


def _intern(texts: list[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Word ids (words,) of all texts in order, and offsets (texts + 1,) of each text's words."""
    return _intern_arrow(texts) if len(texts) >= _ARROW_TEXTS else _intern_dictionary(texts)


def _intern_dictionary(texts: list[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    ids: dict[str, int] = {}
    words: list[int] = []
    offsets = [0]
    for text in texts:
        words.extend(ids.setdefault(word, len(ids)) for word in text.split())
        offsets.append(len(words))
    return np.array(words, dtype=np.int64), np.array(offsets, dtype=np.int64)


def _intern_arrow(texts: list[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    split = pc.utf8_split_whitespace(pa.array(texts, type=pa.large_string()))
    encoded = split.values.dictionary_encode()
    words = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    offsets = split.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    empty = encoded.dictionary.index("").as_py()
    if empty >= 0:  # Arrow yields an empty word for an empty text and beside outer spaces; `str.split` does not
        kept = words != empty
        offsets = np.concatenate(([0], np.cumsum(kept)))[offsets]
        words = words[kept]
    return words, offsets
