"""Greedy decoding: words, times, confidence, partials whose committed words never change."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speech.ctc.decode import Decoder, DecoderConfig
from speech.runtimes import TimedWord
from tests.speech.ctc_samples import TOKENS

OUTPUT_S = 0.04


def scores(path: list[int], probability: float = 0.9) -> Tensor:
    """Log probabilities whose best symbols are `path`."""
    rest = (1 - probability) / (len(TOKENS) - 1)
    table = torch.full((len(path), len(TOKENS)), rest)
    table[torch.arange(len(path)), torch.tensor(path)] = probability
    return table.log()


def decoded(table: Tensor, **settings_: float) -> Decoder:
    decoder = Decoder(DecoderConfig.model_validate(settings_), TOKENS, OUTPUT_S)
    decoder.accept(table)
    return decoder


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ([], ""),
        ([0, 0, 0], ""),
        ([1, 1, 4, 4, 2], "call the doctor"),
        ([1, 1, 1], "call"),
        ([1, 0, 1], "call call"),
        ([0, 1, 0, 0, 4, 0, 2, 0], "call the doctor"),
    ],
)
def test_repeats_are_one_word_and_a_blank_parts_words(path: list[int], text: str) -> None:
    assert decoded(scores(path)).transcript().text == text if path else True


def test_words_have_times_and_confidence() -> None:
    transcript = decoded(scores([0] * 10 + [1, 1] + [0] * 3 + [2]), word_ms=200).transcript()
    assert transcript.words == (TimedWord("call", 0.28, 0.48, 0.9), TimedWord("doctor", 0.48, 0.64, 0.9))
    assert transcript.confidence == pytest.approx(0.9)


def test_doubtful_words_are_dropped_by_confidence_and_by_blank_bias() -> None:
    table = scores([1, 0, 2], probability=0.45)
    assert decoded(table, least_confidence=0.4).transcript().text == "call doctor"
    assert decoded(table, least_confidence=0.5).transcript().text == ""
    assert decoded(table, blank_bias=3.0).transcript().text == ""


def test_an_eager_word_is_shown_and_not_committed() -> None:
    table = scores([1, 0, 0, 0, 0])
    table[-1] = torch.tensor([0.6, 0.0, 0.4, 0.0, 0.0]).clamp_min(1e-6).log()
    assert decoded(table, eager_probability=0.3).partial() == ("call doctor", 1)
    assert decoded(table, eager_probability=0.5).partial() == ("call", 1)


def test_a_word_is_committed_after_its_delay() -> None:
    decoder = decoded(scores([1]), commit_ms=80)
    assert decoder.partial() == ("call", 0)
    decoder.accept(scores([0]))
    assert decoder.partial() == ("call", 0)
    decoder.accept(scores([0]))
    assert decoder.partial() == ("call", 1)


@settings(deadline=None)
@given(
    path=st.lists(st.integers(0, 4), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=6),
    sure=st.lists(st.floats(0.25, 0.99), min_size=30, max_size=30),
)
def test_committed_words_never_change_and_chunks_do_not_matter(
    path: list[int], cuts: list[int], sure: list[float]
) -> None:
    table = torch.cat([scores([symbol], probability) for symbol, probability in zip(path, sure, strict=False)])
    whole = decoded(table).transcript()
    decoder = Decoder(DecoderConfig(), TOKENS, OUTPUT_S)
    edges = [0, *sorted(cut for cut in cuts if cut <= len(path)), len(path)]
    committed: list[str] = []
    for start, end in pairwise(edges):
        decoder.accept(table[start:end])
        partial = decoder.partial()
        fixed = partial.text.split()[: partial.committed]
        assert fixed[: len(committed)] == committed
        committed = fixed
    assert decoder.transcript() == whole
    assert whole.text.split()[: len(committed)] == committed
