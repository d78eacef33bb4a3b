"""S, D and I against a plain oracle, on lists and compiled, and the laws of U3."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evalpacks.metrics import words
from evalpacks.metrics.words import WordEdits, edit_counts, word_edits

Text = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=7).map(" ".join)
Pairs = st.lists(st.tuples(Text, Text), min_size=1, max_size=12)


def oracle(reference: str, hypothesis: str) -> tuple[int, int, int]:
    """(S, D, I) by the definition: of all alignments fewest edits, then fewest substitutions."""
    left, right = reference.split(), hypothesis.split()

    @cache
    def best(i: int, j: int) -> tuple[int, int, int, int]:
        if i == len(left) and j == len(right):
            return (0, 0, 0, 0)
        options = []
        if i < len(left) and j < len(right):
            edits, s, d, n = best(i + 1, j + 1)
            wrong = int(left[i] != right[j])
            options.append((edits + wrong, s + wrong, d, n))
        if i < len(left):
            edits, s, d, n = best(i + 1, j)
            options.append((edits + 1, s, d + 1, n))
        if j < len(right):
            edits, s, d, n = best(i, j + 1)
            options.append((edits + 1, s, d, n + 1))
        return min(options)

    return best(0, 0)[1:]


def counts(pairs: list[tuple[str, str]]) -> list[tuple[int, int, int]]:
    edits = edit_counts([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    table = np.stack([edits.substitutions, edits.deletions, edits.insertions], axis=1)
    return [(int(s), int(d), int(i)) for s, d, i in table]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("", "", (0, 0, 0)),
        ("a b c", "a b c", (0, 0, 0)),
        ("a b c", "", (0, 3, 0)),
        ("", "a b", (0, 0, 2)),
        ("a b c", "a x c", (1, 0, 0)),
        ("a b", "b a", (0, 1, 1)),  # two substitutions are as many edits: fewest substitutions decides
        ("  a   b ", "a b", (0, 0, 0)),
        ("a b c d", "x a y c", (1, 1, 1)),
        ("a a a", "a", (0, 2, 0)),
    ],
)
def test_named_pairs(reference: str, hypothesis: str, expected: tuple[int, int, int]) -> None:
    assert counts([(reference, hypothesis)]) == [expected]
    assert oracle(reference, hypothesis) == expected
    assert word_edits(reference, hypothesis) == sum(expected)


@given(pairs=Pairs)
@settings(deadline=None)
def test_counts_equal_the_oracle(pairs: list[tuple[str, str]]) -> None:
    assert counts(pairs) == [oracle(*pair) for pair in pairs]


@given(pairs=Pairs)
@settings(deadline=None, max_examples=50)
def test_lengths_balance(pairs: list[tuple[str, str]]) -> None:
    for (reference, hypothesis), (_, deletions, insertions) in zip(pairs, counts(pairs), strict=True):
        assert len(reference.split()) - deletions + insertions == len(hypothesis.split())


@given(pairs=Pairs)
@settings(deadline=None, max_examples=50)
def test_swapping_the_texts_swaps_deletions_and_insertions(pairs: list[tuple[str, str]]) -> None:
    swapped = counts([(hypothesis, reference) for reference, hypothesis in pairs])
    assert [(s, i, d) for s, d, i in counts(pairs)] == swapped


@given(pairs=Pairs, order=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_permuting_utterances_permutes_counts(pairs: list[tuple[str, str]], order: object) -> None:
    positions = list(range(len(pairs)))
    getattr(order, "shuffle")(positions)  # noqa: B009
    assert counts([pairs[position] for position in positions]) == [counts(pairs)[position] for position in positions]


def _noisy(count: int, seed: int) -> tuple[list[str], list[str]]:
    generator = np.random.default_rng(seed)
    vocabulary = np.array([f"w{number}" for number in range(300)])
    references, hypotheses = [], []
    for _ in range(count):
        spoken = generator.choice(vocabulary, size=int(generator.integers(0, 15)))
        kept = [
            str(generator.choice(vocabulary)) if generator.random() < 0.1 else str(word)
            for word in spoken
            if generator.random() > 0.05
        ]
        references.append(" ".join(spoken))
        hypotheses.append(" ".join(kept))
    return references, hypotheses


def compiled(references: list[str], hypotheses: list[str]) -> WordEdits:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "_COMPILE_PAIRS", 0)
        return edit_counts(references, hypotheses)


def assert_compiled_is_the_same(references: list[str], hypotheses: list[str]) -> None:
    for left, right in zip(edit_counts(references, hypotheses), compiled(references, hypotheses), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("chunk", [1, 7, 8192])
def test_compiled_counts_are_the_same_in_any_chunks(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(words, "_CHUNK_PAIRS", chunk)
    assert_compiled_is_the_same(*_noisy(400, seed=1))


@given(pairs=Pairs)
@settings(deadline=None)
def test_compiled_counts_equal_the_oracle(pairs: list[tuple[str, str]]) -> None:
    edits = compiled([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    found = zip(edits.substitutions, edits.deletions, edits.insertions, strict=True)
    assert [tuple(map(int, counted)) for counted in found] == [oracle(*pair) for pair in pairs]


Odd = st.text(
    alphabet=st.sampled_from(
        "ab \t\u00a0\u0085\u1680\u2003\u2028\u202f\u205f\u3000\x1c\x1f\x00\u00e9\u0939\u4e2d\ud800\U0001f600"
    ),
    max_size=12,
)


@given(pairs=st.lists(st.tuples(Odd, Odd), min_size=1, max_size=8))
@example(pairs=[("\x00 a", "\x00 b")])  # a control character is a word, also where both texts begin with it
@settings(deadline=None)
def test_compiled_words_are_those_of_split(pairs: list[tuple[str, str]]) -> None:
    assert_compiled_is_the_same([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def test_all_white_space_of_unicode_parts_words_when_compiled() -> None:
    characters = [chr(code) for code in range(0x11000) if not 0xD800 <= code < 0xE000]
    texts = [f"a{character}b" for character in characters]
    counted = compiled(texts, texts).reference_words
    assert [int(count) for count in counted] == [len(text.split()) for text in texts]


def test_a_text_is_as_long_as_it_likes_when_compiled() -> None:
    long = " ".join(f"w{number % 700}" for number in range(3000))
    other = " ".join(word for number, word in enumerate(long.split()) if number % 50)
    edits = compiled([long, "a"], [other, "b"])
    assert [counts.tolist() for counts in edits] == [[0, 1], [60, 0], [0, 0], [3000, 1]]


@pytest.mark.parametrize(
    ("references", "hypotheses", "repays"),
    [
        (["a"] * 19_999, ["b"] * 19_999, False),
        (["a"] * 20_000, ["a"] * 20_000, True),
        (["a" * 9_999], ["b" * 10_000], False),
        (["a" * 10_000], ["b" * 10_000], True),
        (["a" * 20_000], ["a" * 20_000], False),
    ],
)
def test_much_work_is_compiled(references: list[str], hypotheses: list[str], repays: bool) -> None:
    assert words._repays_compiling(references, hypotheses) is repays


def test_equals_jiwer_edits() -> None:
    import jiwer

    references, hypotheses = _noisy(300, seed=2)
    kept = [(r, h) for r, h in zip(references, hypotheses, strict=True) if r]
    ours = edit_counts([r for r, _ in kept], [h for _, h in kept])
    output = jiwer.process_words([r for r, _ in kept], [h for _, h in kept])
    assert int(ours.errors.sum()) == output.substitutions + output.deletions + output.insertions
    assert int(ours.substitutions.sum()) <= output.substitutions


def test_unequal_numbers_of_texts_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="1 references and 2 hypotheses"):
        edit_counts(["a"], ["a", "b"])
