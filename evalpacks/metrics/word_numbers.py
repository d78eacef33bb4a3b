"""Words of many pairs of texts as numbers, compiled: UTF-8 bytes in, word numbers and counts out.

Boundary: pure. Imports the compiler, so `words` imports this module only where there is enough work to repay that.
Invariants: words are what `str.split` yields (the white space of Unicode, in UTF-8); within a pair two words have the
same number exactly when they have the same bytes, a hash only finds candidates.
Method: most of what a recogniser writes is what was said, so the words that both texts begin and end with are
counted by comparing bytes, and only what is between is split, hashed (FNV-1a of Fowler, Noll and Vo) and numbered.
Numbers hold within a pair: there is no table of all words, which would cost more than everything else together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

_Function = TypeVar("_Function", bound=Callable[..., Any])
_compile: Callable[[_Function], _Function] = numba.njit(cache=True, nogil=True)

_HASH_START = np.uint64(14695981039346656037)
_HASH_FACTOR = np.uint64(1099511628211)
_UNKNOWN = -1


@_compile
def number_words(text: Any, limits: Any) -> Any:
    """Number the words of text i and text pairs + i, for each pair i, but for words that both begin or end with.

    `text` (bytes,) is UTF-8, text i spans limits[i]:limits[i + 1], limits (2 * pairs + 1,). Gives word numbers
    (words,), offsets (2 * pairs + 1,) with the words of the first text of pair i at offsets[2 i]:offsets[2 i + 1] and
    those of the second behind them, and how many words were left out of either (pairs,).
    """
    pairs = len(limits) // 2
    longest = 0
    for pair in range(2 * pairs):
        longest = max(longest, limits[pair + 1] - limits[pair])
    starts, ends = np.empty((2, longest + 2), np.int64)
    codes = np.empty(longest + 2, np.uint64)
    words = np.empty(len(text) // 2 + 2 * pairs, np.int64)
    offsets = np.zeros(2 * pairs + 1, np.int64)
    shared = np.empty(pairs, np.int64)
    for pair in range(pairs):
        first, last = limits[pair], limits[pair + 1]
        start, end = limits[pairs + pair], limits[pairs + pair + 1]
        before, head = _shared_first(text, first, last, start, end)
        after, tail = _shared_last(text, first + head, last, start + head, end)
        middle = _split(text, first + head, last - tail, starts, ends, codes, 0)
        total = _split(text, start + head, end - tail, starts, ends, codes, middle)
        begin = offsets[2 * pair]
        for word in range(total):
            words[begin + word] = _first_alike(text, starts, ends, codes, min(word + 1, middle), word)
        offsets[2 * pair + 1], offsets[2 * pair + 2] = begin + middle, begin + total
        shared[pair] = before + after
    return words[: offsets[-1]], offsets, shared


@_compile
def _shared_first(text: Any, first: int, last: int, start: int, end: int) -> tuple[int, int]:
    """How many whole words text[first:last] and text[start:end] begin with, and their bytes, space behind included."""
    words, size, inside = 0, 0, False
    for at in range(min(last - first, end - start)):
        byte = text[first + at]
        if byte != text[start + at] or (byte >= 0xC2 and _white_space(text, first + at)):
            break  # white space of several bytes is left to _split
        if byte <= 0x20 and _white_space(text, first + at):
            words += inside
            size = at + 1
            inside = False
        else:
            inside = True
    return words, size


@_compile
def _shared_last(text: Any, first: int, last: int, start: int, end: int) -> tuple[int, int]:
    """How many whole words text[first:last] and text[start:end] end with, and their bytes; ASCII only."""
    words, size, inside = 0, 0, False
    for back in range(1, min(last - first, end - start) + 1):
        byte = text[last - back]
        if byte != text[end - back] or byte >= 0x80:
            break  # read from behind, white space of several bytes is not known as such
        if byte <= 0x20 and _white_space(text, last - back):
            words += inside
            size = back
            inside = False
        else:
            inside = True
    return words, size


@_compile
def _split(text: Any, at: int, end: int, starts: Any, ends: Any, codes: Any, count: int) -> int:
    """Append where each word of text[at:end] starts and ends, and its hash, from `count` on; the new count."""
    start = at
    code = _HASH_START
    while at < end:
        byte = text[at]
        blank = 0 if 0x20 < byte < 0xC2 else _white_space(text, at)
        if blank:
            if start < at:
                starts[count], ends[count], codes[count] = start, at, code
                count += 1
            code = _HASH_START
            at += blank
            start = at
        else:
            code = (code ^ np.uint64(byte)) * _HASH_FACTOR
            at += 1
    if start < end:
        starts[count], ends[count], codes[count] = start, end, code
        count += 1
    return count


@_compile
def _first_alike(text: Any, starts: Any, ends: Any, codes: Any, known: int, word: int) -> int:
    """The first of the first `known` words that is the same as `word`, _UNKNOWN where none is."""
    size = ends[word] - starts[word]
    for other in range(known):
        if codes[other] == codes[word] and ends[other] - starts[other] == size:
            same = 0
            while same < size and text[starts[other] + same] == text[starts[word] + same]:
                same += 1
            if same == size:
                return other
    return _UNKNOWN


@_compile
def _white_space(text: Any, at: int) -> int:
    """Bytes of the white space that begins at `at`, 0 where there is none; what `str.isspace` says, in UTF-8."""
    byte = text[at]
    if byte <= 0x20:
        return int(byte == 0x20 or 0x09 <= byte <= 0x0D or byte >= 0x1C)
    if byte == 0xC2:  # U+0085, U+00A0
        return 2 * int(text[at + 1] in (0x85, 0xA0))
    if byte == 0xE1:  # U+1680
        return 3 * int(text[at + 1] == 0x9A and text[at + 2] == 0x80)
    if byte == 0xE2 and text[at + 1] == 0x80:  # U+2000 to U+200A, U+2028, U+2029, U+202F
        return 3 * int(text[at + 2] <= 0x8A or text[at + 2] in (0xA8, 0xA9, 0xAF))
    if byte == 0xE2:  # U+205F
        return 3 * int(text[at + 1] == 0x81 and text[at + 2] == 0x9F)
    return 3 * int(byte == 0xE3 and text[at + 1] == 0x80 and text[at + 2] == 0x80)  # U+3000
