"""From log probabilities to words: greedy CTC, word by word, with times, confidence and partials.

Boundary: no I/O; tensors in, words out.
Invariants: the words do not depend on how outputs are cut into chunks; a committed word never changes; the final text
starts with every committed word. A payload's `decoder.json` holds all settings, so that a release can change only them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, NonNegativeFloat
from torch import Tensor

from contracts.document import Document
from speech.runtimes import Partial, TimedWord, Transcript

BLANK = 0


class DecoderConfig(Document):
    """The file `decoder.json`.

    Attributes:
        blank_bias: added to the blank's log probability; over 0 drops doubtful words, under 0 keeps them.
        least_confidence: words whose best probability stays below are dropped.
        eager_probability: a word shows in a partial, not committed, as soon as it is this probable though the blank is
            more so; 1 shows none.
        commit_ms: time after the end of a word until it is committed.
        word_ms: longest time before its end that a word is given; CTC names a word near its end alone.
        tail_ms: silence fed after the end of audio, so that the last word is heard.
    """

    KIND: ClassVar[str] = "ctc_decoder"

    blank_bias: float = 0.0
    least_confidence: float = Field(default=0.3, ge=0, le=1)
    eager_probability: float = Field(default=0.25, gt=0, le=1)
    commit_ms: NonNegativeFloat = 80.0
    word_ms: NonNegativeFloat = 400.0
    tail_ms: NonNegativeFloat = 320.0


class _Run:
    """Outputs in a row that name the same symbol."""

    def __init__(self, symbol: int, start: int, probability: float) -> None:
        self.symbol = symbol
        self.start = start
        self.end = start + 1
        self.best = probability


class Decoder:
    """Greedy decoding of one utterance; `accept` may be called with any number of outputs at a time."""

    def __init__(self, config: DecoderConfig, tokens: Sequence[str], output_s: float) -> None:
        self._config = config
        self._tokens = tokens
        self._output_s = output_s
        self._runs: list[_Run] = []
        self._open: _Run | None = None
        self._eager: int | None = None
        self._heard = 0

    def accept(self, scores: Tensor) -> None:
        """Take the next log probabilities, (outputs, vocabulary)."""
        if scores.shape[0] == 0:
            return
        biased = scores.clone()
        biased[:, BLANK] += self._config.blank_bias
        probabilities = biased.softmax(-1)
        best, symbols = probabilities.max(-1)
        for symbol, probability in zip(symbols.tolist(), best.tolist(), strict=True):
            self._step(symbol, probability)
        word, symbol = probabilities[-1, 1:].max(0)
        shown = float(word) >= self._config.eager_probability and int(symbols[-1]) == BLANK
        self._eager = int(symbol) + 1 if shown else None

    def partial(self) -> Partial:
        """Words so far; those whose run ended `commit_ms` ago are committed."""
        words = [self._tokens[run.symbol] for run in self._kept()]
        committed = sum(
            run is not self._open and (self._heard - run.end) * self._output_s * 1000 >= self._config.commit_ms
            for run in self._kept()
        )
        last = self._runs[-1].symbol if self._runs else BLANK
        if self._eager is not None and self._eager != last:
            words.append(self._tokens[self._eager])
        return Partial(" ".join(words), committed)

    def transcript(self) -> Transcript:
        """All words with their times and confidence; the utterance's confidence is their mean, 1 for no words."""
        kept = self._kept()
        ends_s = [run.end * self._output_s for run in kept]
        starts_s = [
            max(earlier, end - self._config.word_ms / 1000, 0.0)
            for earlier, end in zip([0.0, *ends_s], ends_s, strict=False)
        ]
        words = tuple(
            TimedWord(self._tokens[run.symbol], round(start, 3), round(end, 3), round(min(1.0, run.best), 4))
            for run, start, end in zip(kept, starts_s, ends_s, strict=True)
        )
        confidences = [word.confidence for word in words if word.confidence is not None]
        mean = round(sum(confidences) / len(confidences), 4) if confidences else 1.0
        return Transcript(" ".join(word.word for word in words), words, mean)

    def _step(self, symbol: int, probability: float) -> None:
        place = self._heard
        self._heard += 1
        if symbol == BLANK:
            self._open = None
        elif self._open is not None and self._open.symbol == symbol:
            self._open.end = place + 1
            self._open.best = max(self._open.best, probability)
        else:
            self._open = _Run(symbol, place, probability)
            self._runs.append(self._open)

    def _kept(self) -> list[_Run]:
        return [run for run in self._runs if run.best >= self._config.least_confidence]
