"""Synthetic transcripts for benchmarks: references, what a recogniser makes of them, speakers and slice columns.

Boundary: pure; a seed in, strings out.
Invariants: the same arguments give the same strings. Words are drawn from a vocabulary whose frequencies fall as
1 / rank (Zipf) and whose frequent words are short; an utterance has 1 to 24 words, 12.5 on average. Of the reference
words a share `noise` is disturbed as recognisers do it: 6 in 10 are replaced, 2.5 in 10 dropped, 1.5 in 10 followed by
a word nobody said.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

VOCABULARY = 20_000
SLICE_COLUMNS = ("accent", "device", "length", "noise")
VALUES_A_COLUMN = 5
SPEAKERS = 320
LONGEST = 24

_REPLACED, _DROPPED = 0.6, 0.25
_PART = 1 << 16
_SYLLABLES = tuple(consonant + vowel for consonant in "bdfgklmnprstvwz" for vowel in "aeiou")

Words = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Transcripts:
    """Texts of `count` utterances; `labels` has utterance_id, speaker and the slice columns, in the same order."""

    references: list[str]
    hypotheses: list[str]
    labels: pd.DataFrame


def make_transcripts(count: int, *, seed: int = 1, noise: float = 0.1) -> Transcripts:
    """`count` utterances of 320 speakers in 20 slices (4 columns of 5 values)."""
    import pandas as pd

    references, hypotheses = make_pairs(count, seed=seed, noise=noise)
    generator = np.random.default_rng([seed, 2])
    labels = {"utterance_id": [f"u{number:07d}" for number in range(count)]}
    speakers = [f"s{number:03d}" for number in range(SPEAKERS)]
    labels["speaker"] = [speakers[number % SPEAKERS] for number in range(count)]
    for column in SLICE_COLUMNS:
        values = np.array([f"{column}{value}" for value in range(VALUES_A_COLUMN)], dtype=object)
        labels[column] = values[generator.integers(0, VALUES_A_COLUMN, size=count)].tolist()
    return Transcripts(references, hypotheses, pd.DataFrame(labels, dtype=object))


def make_pairs(count: int, *, seed: int = 1, noise: float = 0.1) -> tuple[list[str], list[str]]:
    """References and noisy hypotheses; made in parts, so that making them takes little memory beside them."""
    references: list[str] = []
    hypotheses: list[str] = []
    for part, first in enumerate(range(0, count, _PART)):
        generator = np.random.default_rng([seed, 1, part])
        said, heard = _make_part(generator, min(_PART, count - first), noise)
        references += said
        hypotheses += heard
    return references, hypotheses


def _make_part(generator: np.random.Generator, count: int, noise: float) -> tuple[list[str], list[str]]:
    lengths = generator.integers(1, LONGEST + 1, size=count)
    said = _spoken(generator, int(lengths.sum()))
    utterance = np.repeat(np.arange(count), lengths)
    fate = generator.random(len(said)) / max(noise, 1e-12)
    replaced, dropped = fate < _REPLACED, (fate >= _REPLACED) & (fate < _REPLACED + _DROPPED)
    inserted = (fate >= _REPLACED + _DROPPED) & (fate < 1)
    copies = np.where(dropped, 0, np.where(inserted, 2, 1))
    heard = np.repeat(np.where(replaced, _spoken(generator, len(said)), said), copies)
    second = np.cumsum(copies)[inserted] - 1
    heard[second] = _spoken(generator, len(second))
    return _joined(said, lengths), _joined(heard, np.bincount(np.repeat(utterance, copies), minlength=count))


def _spoken(generator: np.random.Generator, count: int) -> Words:
    """Ranks of words drawn by Zipf's law, shape (count,)."""
    cumulated = np.cumsum(1.0 / np.arange(1, VOCABULARY + 1))
    ranks: Words = np.searchsorted(cumulated, generator.random(count) * cumulated[-1])
    return ranks


def _joined(words: Words, lengths: Words) -> list[str]:
    """Each utterance's words with a space between."""
    import pyarrow as pa
    import pyarrow.compute as pc

    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), _vocabulary().take(pa.array(words)))
    texts: list[str] = pc.binary_join(lists, pa.scalar(" ")).to_pylist()
    return texts


@lru_cache(maxsize=1)
def _vocabulary() -> Any:
    """Every word by rank, as an Arrow array (VOCABULARY,)."""
    import pyarrow as pa

    return pa.array([_spell(rank) for rank in range(VOCABULARY)], type=pa.string())


def _spell(rank: int) -> str:
    """A word of its own for each rank: the digits of a number in syllables, so that frequent words are short."""
    syllables = ""
    number = rank + 1
    while number:
        number, digit = divmod(number, len(_SYLLABLES))
        syllables += _SYLLABLES[digit]
    return syllables
