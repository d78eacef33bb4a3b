"""PocketSphinx: classical open-vocabulary recognition (Gaussian mixtures, n-gram language model), an honest baseline.

Boundary: reads the payload folder when it is loaded and nothing afterwards; models come from the payload, never from
the package's own folder.
Invariants: each utterance starts with a new front end, so that what was heard before (noise level, cepstral mean)
changes nothing; the final of a stream is the transcript of the whole utterance, so chunks do not change it; partials
come from a cheaper search and commit to nothing, because the best path may change back to the first word until the end.
Source: the PocketSphinx 5 decoder. Its live cepstral mean, which costs 2 to 3 points of word error against the mean of
the whole utterance, starts at an estimate over the first `settle_s` seconds and serves partials alone.

Files of the payload
    acoustic/...        mdef, means, variances, sendump, transition_matrices, noisedict, feat.params
    language.lm.bin     n-gram trie     dictionary.dict   words and their phones
    decoder.json        {"settle_s": ..., "search": {options of pocketsphinx.Config},
                        "partial_search": {options that differ for partials}}
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
"""0.1 s of 16-bit samples: what the partial search is given at once, whatever chunks a client sends."""
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
        model = {
            "hmm": str(payload / "acoustic"),
            "lm": str(payload / "language.lm.bin"),
            "dict": str(payload / "dictionary.dict"),
            "loglevel": "FATAL",
        }
        return PocketsphinxRuntime(
            {**settings["search"], **model},
            {**settings["search"], **settings["partial_search"], **model},
            settle_s=float(settings["settle_s"]),
        )
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

    def __init__(self, final: dict[str, Any], partial: dict[str, Any], *, settle_s: float) -> None:
        self._final = _decoder(final)
        self._partial_options = partial
        self._idle = [_decoder(partial)]
        self._start_mean: str = self._final.get_cmn(False)
        self.settle_bytes = 2 * round(settle_s * SAMPLE_RATE_HZ)

    def transcribe(self, audio: Samples) -> Transcript:
        """The transcript of one whole utterance, (samples,) at 16 kHz, with times and posteriors of its words."""
        return self.transcribe_pcm(pcm16(audio))

    def stream(self) -> PocketsphinxStream:
        """Start hearing an utterance."""
        decoder = self._idle.pop() if self._idle else _decoder(self._partial_options)
        return PocketsphinxStream(self, decoder)

    def transcribe_pcm(self, pcm: bytes) -> Transcript:
        """`transcribe` of 16-bit samples; digital silence, which would be its own cepstral mean, is not heard."""
        if not any(pcm):
            return Transcript("")
        self.begin(self._final, None)
        self._final.process_raw(pcm, full_utt=True)
        self._final.end_utt()
        words = _words(self._final)
        confidence = sum(word.confidence or 0.0 for word in words) / len(words) if words else None
        return Transcript(" ".join(word.word for word in words), words, confidence)

    def begin(self, decoder: Any, mean: str | None) -> None:
        """Start an utterance from a cepstral mean; a new front end, because the old one remembers its noise."""
        decoder.reinit_feat()
        decoder.set_cmn(mean or self._start_mean)
        decoder.start_utt()

    def give_back(self, decoder: Any) -> None:
        """Take back the decoder of a stream that has ended."""
        self._idle.append(decoder)


class PocketsphinxStream:
    """One utterance: partials as it is heard, then one more hearing of the whole for the final.

    The first seconds are kept until the cepstral mean can be estimated from them.
    """

    def __init__(self, runtime: PocketsphinxRuntime, decoder: Any) -> None:
        self._runtime = runtime
        self._decoder = decoder
        self._pcm = bytearray()
        self._heard = 0
        self._begun = False
        self._last = ""

    def accept(self, chunk: Samples) -> Partial | None:
        """Hear the next chunk, (samples,) in [-1, 1]; a Partial with no committed word when the text changed."""
        self._pcm += pcm16(chunk)
        if not self._begun:
            if len(self._pcm) < self._runtime.settle_bytes:
                return None
            self._begin()
        while len(self._pcm) - self._heard >= BLOCK_BYTES:
            self._decoder.process_raw(bytes(self._pcm[self._heard : self._heard + BLOCK_BYTES]))
            self._heard += BLOCK_BYTES
        hypothesis = self._decoder.hyp()
        text = hypothesis.hypstr if hypothesis else ""
        if text == self._last:
            return None
        self._last = text
        return Partial(text, 0)

    def finish(self) -> Transcript:
        """The final transcript: that of the whole utterance. Asked again, it says the same."""
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            if self._begun:
                decoder.end_utt()
            self._runtime.give_back(decoder)
        return self._runtime.transcribe_pcm(bytes(self._pcm))

    def _begin(self) -> None:
        """Estimate the cepstral mean from the start of the utterance, recognising nothing, and begin."""
        self._runtime.begin(self._decoder, None)
        self._decoder.process_raw(bytes(self._pcm[: self._runtime.settle_bytes]), no_search=True, full_utt=True)
        self._decoder.end_utt()
        self._runtime.begin(self._decoder, self._decoder.get_cmn(False))
        self._begun = True


def _decoder(options: dict[str, Any]) -> Any:
    import pocketsphinx

    return pocketsphinx.Decoder(pocketsphinx.Config(**options))


def _words(decoder: Any) -> tuple[TimedWord, ...]:
    """Words of the best path of an utterance that has ended, without silences and noises."""
    hypothesis = decoder.hyp()
    if not hypothesis or not hypothesis.hypstr:
        return ()
    return tuple(
        TimedWord(
            segment.word.split("(")[0],
            segment.start_frame / FRAMES_PER_S,
            (segment.end_frame + 1) / FRAMES_PER_S,
            min(1.0, max(0.0, float(segment.prob))),
        )
        for segment in decoder.seg()
        if segment.word[0] not in "<[+"
    )


def pcm16(samples: Samples) -> bytes:
    """Samples (n,) in [-1, 1] as little-endian 16-bit integers; values outside are clipped, NaN is silence."""
    clean = np.nan_to_num(np.asarray(samples, np.float32), nan=0.0, posinf=1.0, neginf=-1.0)
    return bytes((np.clip(clean, -1.0, 1.0) * 32767).astype("<i2").tobytes())
