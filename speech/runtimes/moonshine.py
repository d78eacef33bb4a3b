"""Moonshine (tiny, English): a neural encoder-decoder for open-vocabulary speech, run by ONNX Runtime.

Boundary: reads the payload folder when it is loaded and nothing afterwards; needs the package onnxruntime alone, not
the package that the weights came from.
Invariants: greedy search on a fixed number of threads, so the same audio gives the same text; audio longer than the
window is cut at its quietest moment, never dropped; no streaming (the encoder hears an utterance as a whole), so
`stream` gathers audio and answers at the end.
Source: Jeffries et al. 2024, "Moonshine: Speech Recognition for Live Transcription and Voice Commands".

Files of the payload
    encoder.ort     waveform (1, samples) -> hidden states (1, frames, width)
    decoder.ort     tokens and hidden states -> logits (1, 1, vocabulary) and the next key-value cache
    tokens.json     the vocabulary by token id; a raw byte is written `<0xHH>`
    decoder.json    start_token, end_token, max_tokens_per_s, window_s
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.errors import Refused
from speech.runtimes import OutputsNotFinite, Partial, Samples, Transcript
from speech.runtimes.onnx import load_session

SAMPLE_RATE_HZ = 16_000
SHORTEST_SAMPLES = 1_600
"""0.1 s: shorter audio is padded with silence to this, because the encoder's strides need it."""
QUIET_SPAN_SAMPLES = 3_200
"""0.2 s: the length over which loudness is measured when long audio is cut."""
FILES = ("encoder.ort", "decoder.ort", "tokens.json", "decoder.json")
WORD_START = "\u2581"
BYTE_TOKEN = re.compile(r"^<0x([0-9A-F]{2})>$")
SPECIAL_TOKEN = re.compile(r"^<.+>$")


class Search(NamedTuple):
    """Settings of the greedy search (decoder.json).

    Attributes:
        start_token, end_token: token ids.
        max_tokens_per_s: tokens a second of audio may give; bounds a decoder that repeats itself.
        window_s: the longest stretch, in seconds, that is heard as one.
    """

    start_token: int
    end_token: int
    max_tokens_per_s: float
    window_s: float


def load(payload: Path, *, threads: int = 1) -> MoonshineRuntime:
    """Load the engine from its payload folder alone; raises Refused for a payload that lacks or mixes up files."""
    missing = [name for name in FILES if not (payload / name).is_file()]
    if missing:
        raise _refused("missing: " + ", ".join(missing))
    try:
        settings = json.loads((payload / "decoder.json").read_text(encoding="utf-8"))
        tokens = json.loads((payload / "tokens.json").read_text(encoding="utf-8"))
        encoder, decoder = (load_session(payload / name, threads=threads) for name in FILES[:2])
        search = Search(**{field: settings[field] for field in Search._fields})
    except (OSError, KeyError, ValueError) as error:
        raise _refused(str(error) or type(error).__name__) from None
    return MoonshineRuntime(encoder, decoder, tokens, search)


def _refused(got: str) -> Refused:
    return Refused(
        "a moonshine payload cannot be loaded",
        where="payload",
        got=got,
        expected="the files that `python -m speech.third_party` writes",
        next_step="build the candidate again: python -m speech.third_party moonshine-tiny --out DIR",
    )


class MoonshineRuntime:
    """A loaded Moonshine model (speech.runtimes.Runtime)."""

    sample_rate_hz = SAMPLE_RATE_HZ
    streaming = False

    def __init__(self, encoder: Any, decoder: Any, tokens: list[str], search: Search) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._search = search
        self._tokens = [_token_bytes(token) for token in tokens]
        self._past = {item.name: item.shape for item in decoder.get_inputs() if item.name.startswith("past_")}
        self._present = [item.name.replace("present", "past_key_values") for item in decoder.get_outputs()[1:]]

    def transcribe(self, audio: Samples) -> Transcript:
        """The transcript of one utterance, (samples,) at 16 kHz; NaN is heard as silence.

        `confidence` is the geometric mean of the tokens' probabilities, None without a token.
        """
        texts, logs = [], []
        audio = np.nan_to_num(np.asarray(audio, np.float32), nan=0.0, posinf=1.0, neginf=-1.0).clip(-1.0, 1.0)
        for piece in cut_at_quiet(audio, longest=round(self._search.window_s * SAMPLE_RATE_HZ)):
            text, piece_logs = self._piece(piece)
            texts.append(text)
            logs.extend(piece_logs)
        confidence = math.exp(sum(logs) / len(logs)) if logs else None
        return Transcript(" ".join(text for text in texts if text), confidence=confidence)

    def stream(self) -> GatheringStream:
        """Gather audio; the answer comes at the end."""
        return GatheringStream(self)

    def _piece(self, audio: Samples) -> tuple[str, list[float]]:
        """Text and natural-log token probabilities of one stretch of audio; digital silence is not heard at all."""
        if not audio.any():
            return "", []
        limit = math.ceil(len(audio) / SAMPLE_RATE_HZ * self._search.max_tokens_per_s) + 1
        audio = np.pad(audio, (0, max(0, SHORTEST_SAMPLES - len(audio))))
        mask = np.ones((1, len(audio)), np.int64)
        hidden = self._encoder.run(None, {"input_values": audio[None], "attention_mask": mask})[0]
        cache = {name: np.zeros((1, shape[1], 0, shape[3]), np.float32) for name, shape in self._past.items()}
        token, tokens, logs = self._search.start_token, [], []
        for step in range(limit):
            logits, *present = self._decoder.run(
                None,
                {
                    "encoder_attention_mask": mask,
                    "encoder_hidden_states": hidden,
                    "input_ids": np.array([[token]], np.int64),
                    "use_cache_branch": np.array([step > 0]),
                    **cache,
                },
            )
            # The branch that uses the cache leaves the encoder's part of it empty: keep that of the first step.
            cache |= {
                name: value
                for name, value in zip(self._present, present, strict=True)
                if step == 0 or ".decoder." in name
            }
            token, log_probability = best_token(logits[0, -1])
            if token == self._search.end_token:
                break
            tokens.append(token)
            logs.append(log_probability)
        return self._text(tokens), logs

    def _text(self, tokens: list[int]) -> str:
        joined = b"".join(self._tokens[token] for token in tokens).decode("utf-8", errors="replace")
        return " ".join(joined.replace(WORD_START, " ").split())


class GatheringStream:
    """A stream for an engine that hears an utterance as a whole: no partials, the transcript at the end."""

    def __init__(self, runtime: MoonshineRuntime) -> None:
        self._runtime = runtime
        self._chunks: list[Samples] = []

    def accept(self, chunk: Samples) -> Partial | None:
        """Keep the chunk."""
        self._chunks.append(np.array(chunk, np.float32))
        return None

    def finish(self) -> Transcript:
        """The transcript of all that was heard. Asked again, it says the same."""
        return self._runtime.transcribe(np.concatenate([np.zeros(0, np.float32), *self._chunks]))


def cut_at_quiet(audio: Samples, *, longest: int) -> list[Samples]:
    """Cut audio (samples,) into pieces of at most `longest` samples, each at the quietest moment of its second half.

    The pieces joined are the audio; audio that fits is one piece.
    """
    pieces, rest = [], audio
    while len(rest) > longest:
        half = rest[longest // 2 : longest]
        span = min(QUIET_SPAN_SAMPLES, len(half))
        total = np.concatenate([[0.0], np.cumsum(half.astype(np.float64) ** 2)])
        cut = longest // 2 + int(np.argmin(total[span:] - total[:-span])) + span // 2
        cut = max(1, cut)
        pieces.append(rest[:cut])
        rest = rest[cut:]
    return [*pieces, rest]


def _token_bytes(token: str) -> bytes:
    if match := BYTE_TOKEN.match(token):
        return bytes([int(match[1], 16)])
    return b"" if SPECIAL_TOKEN.match(token) else token.encode("utf-8")


def best_token(logits: npt.NDArray[np.float32]) -> tuple[int, float]:
    """The most probable token of logits (vocabulary,) and its natural-log probability; OutputsNotFinite without one.

    Infinity and NaN are what `argmax` picks, so that they show in the probability; minus infinity is a token ruled out.
    """
    best = int(logits.argmax())
    with np.errstate(invalid="ignore"):
        log_probability = -float(np.log(np.exp(logits - logits[best]).sum()))
    if not math.isfinite(log_probability):
        raise OutputsNotFinite
    return best, log_probability
