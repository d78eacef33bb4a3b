"""PocketSphinx: classical open-vocabulary recognition (Gaussian mixtures, n-gram language model), an honest baseline.

Boundary: reads the payload folder when it is loaded and nothing afterwards; models come from the payload, never from
the package's own folder.
Invariants: each utterance starts with a new front end, so that what was heard before (noise level, cepstral mean)
changes nothing; audio goes to the decoder in blocks of one size, so that the text does not depend on the chunks a
client sends; partials commit to nothing, because the best path may change back to the first word until the end.
Source: the PocketSphinx 5 decoder; its live cepstral mean starts at an estimate over the first `settle_s` seconds.

Files of the payload
    acoustic/...        mdef, means, variances, sendump, transition_matrices, noisedict, feat.params
    language.lm.bin     n-gram trie     dictionary.dict   words and their phones
    decoder.json        {"settle_s": ..., "search": {options of pocketsphinx.Config}}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from contracts.errors import Refused
from speech.runtimes import Partial, Samples, TimedWord, Transcript

SAMPLE_RATE_HZ = 16_000
FRAMES_PER_S = 100
BLOCK_BYTES = 3_200
"""0.1 s of 16-bit samples: what the decoder is given at once."""
FILES = (
    "acoustic/mdef",
    "acoustic/means",
    "acoustic/variances",
    "acoustic/transition_matrices",
    "acoustic/noisedict",
    "acoustic/feat.params",
    "language.lm.bin",
    "dictionary.dict",
    "decoder.json",
)


def load(payload: Path, *, threads: int = 1) -> PocketsphinxRuntime:  # noqa: ARG001 - the engine has one thread
    """Load the engine from its payload folder alone; Refused for a payload that lacks files or cannot be read."""
    missing = [name for name in FILES if not (payload / name).is_file()]
    if missing:
        raise _refused("missing: " + ", ".join(missing))
    try:
        settings = json.loads((payload / "decoder.json").read_text(encoding="utf-8"))
        options = {
            **settings["search"],
            "hmm": str(payload / "acoustic"),
            "lm": str(payload / "language.lm.bin"),
            "dict": str(payload / "dictionary.dict"),
            "loglevel": "FATAL",
        }
        return PocketsphinxRuntime(options, settle_s=float(settings["settle_s"]))
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        raise _refused(f"{type(error).__name__}: {error}") from None


def _refused(got: str) -> Refused:
    return Refused(
        "a pocketsphinx payload cannot be loaded",
        where="payload",
        got=got,
        expected="the files that `python -m speech.third_party` writes",
        next_step="build the candidate again: python -m speech.third_party pocketsphinx --out DIR",
    )


class PocketsphinxRuntime:
    """A loaded model (speech.runtimes.Runtime); streams that are open together have a decoder each."""

    sample_rate_hz = SAMPLE_RATE_HZ
    streaming = True

    def __init__(self, options: dict[str, Any], *, settle_s: float) -> None:
        self._options = options
        self._idle: list[Any] = []
        self.settle_bytes = 2 * round(settle_s * SAMPLE_RATE_HZ)
        first = self.borrow()
        self.start_mean: str = first.get_cmn(False)
        self.give_back(first)

    def borrow(self) -> Any:
        """A decoder that nobody uses."""
        import pocketsphinx

        return self._idle.pop() if self._idle else pocketsphinx.Decoder(pocketsphinx.Config(**self._options))

    def give_back(self, decoder: Any) -> None:
        """Take back a decoder whose utterance has ended."""
        self._idle.append(decoder)

    def transcribe(self, audio: Samples) -> Transcript:
        """The transcript of one whole utterance, (samples,) at 16 kHz."""
        stream = self.stream()
        stream.accept(audio)
        return stream.finish()

    def stream(self) -> PocketsphinxStream:
        """Start hearing an utterance."""
        return PocketsphinxStream(self)


class PocketsphinxStream:
    """One utterance. The first seconds are kept until the cepstral mean can be estimated from them."""

    def __init__(self, runtime: PocketsphinxRuntime) -> None:
        self._runtime = runtime
        self._decoder = runtime.borrow()
        self._waiting = b""
        self._settled = False
        self._last = ""

    def accept(self, chunk: Samples) -> Partial | None:
        """Hear the next chunk, (samples,) in [-1, 1]; a Partial with no committed word when the text changed."""
        self._waiting += pcm16(chunk)
        if not self._settled:
            if len(self._waiting) < self._runtime.settle_bytes:
                return None
            self._settle()
        whole = len(self._waiting) // BLOCK_BYTES * BLOCK_BYTES
        self._hear(self._waiting[:whole])
        self._waiting = self._waiting[whole:]
        text = self._text()
        if not whole or text == self._last:
            return None
        self._last = text
        return Partial(text, 0)

    def finish(self) -> Transcript:
        """Hear what is left and give the final transcript, with times and posterior probabilities of words."""
        if not self._settled:
            self._settle()
        self._hear(self._waiting)
        self._waiting = b""
        self._decoder.end_utt()
        words = self._words()
        self._runtime.give_back(self._decoder)
        confidence = sum(word.confidence or 0.0 for word in words) / len(words) if words else None
        return Transcript(" ".join(word.word for word in words), words, confidence)

    def _settle(self) -> None:
        """Estimate the cepstral mean from the start of the utterance, without recognising anything, and begin."""
        mean = self._runtime.start_mean
        if beginning := self._waiting[: self._runtime.settle_bytes]:
            self._begin(mean)
            self._decoder.process_raw(beginning, no_search=True, full_utt=True)
            self._decoder.end_utt()
            mean = self._decoder.get_cmn(False)
        self._begin(mean)
        self._settled = True

    def _begin(self, mean: str) -> None:
        """Start an utterance from a cepstral mean; a new front end, because the old one remembers its noise."""
        self._decoder.reinit_feat()
        self._decoder.set_cmn(mean)
        self._decoder.start_utt()

    def _hear(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), BLOCK_BYTES):
            self._decoder.process_raw(pcm[at : at + BLOCK_BYTES])

    def _text(self) -> str:
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""

    def _words(self) -> tuple[TimedWord, ...]:
        if not self._text():
            return ()
        return tuple(
            TimedWord(
                segment.word.split("(")[0],
                segment.start_frame / FRAMES_PER_S,
                (segment.end_frame + 1) / FRAMES_PER_S,
                min(1.0, max(0.0, float(segment.prob))),
            )
            for segment in self._decoder.seg()
            if segment.word[0] not in "<[+"
        )


def pcm16(samples: Samples) -> bytes:
    """Samples (n,) in [-1, 1] as little-endian 16-bit integers; values outside are clipped, NaN is silence."""
    clean = np.nan_to_num(np.asarray(samples, np.float32), nan=0.0, posinf=1.0, neginf=-1.0)
    return bytes((np.clip(clean, -1.0, 1.0) * 32767).astype("<i2").tobytes())
