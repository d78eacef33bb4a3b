"""Training features: several noisy versions of every clean utterance, made once and shared by all trainings.

Boundary: reads the corpus folder it is handed; every random number follows from the seed.
Invariants: version k of an utterance is the same in every training; a recipe decides which versions a model hears.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from speech.front_end import FrontEndConfig, LogMel
from speech.noise import NOISES, Signal, add_noise, narrowband, set_level

TAIL_MS = 320
"""Silence after the end of audio, as the decoder appends it (decoder.json `tail_ms`)."""


class Version(NamedTuple):
    """What one version does to clean speech: the range of signal-to-noise ratios in dB (None: no noise), the codec."""

    name: str
    snr_db: tuple[float, float] | None
    telephone: float


VERSIONS = (
    Version("clean", None, 0.2),
    Version("mild", (15.0, 25.0), 0.2),
    Version("loud", (7.0, 15.0), 0.0),
    Version("harsh", (2.0, 8.0), 0.0),
    Version("harsh-again", (2.0, 10.0), 0.0),
)


class Heard(NamedTuple):
    """One version: features (frames, mels) in half precision, the frame at which each word ends (words,)."""

    features: Tensor
    ends: Tensor


class Example(NamedTuple):
    """One training utterance: its accent, its symbols (word indices), its versions."""

    utterance_id: str
    accent: str
    symbols: Tensor
    versions: tuple[Heard, ...]


def load_examples(corpus: Path, config: FrontEndConfig, tokens: tuple[str, ...], seed: int) -> list[Example]:
    """All utterances of `corpus/manifest.parquet` with the features of all versions."""
    import pandas
    import soundfile

    from speech.progress import progress

    front_end = LogMel(config)
    index = {word: place for place, word in enumerate(tokens)}
    examples = []
    manifest = pandas.read_parquet(corpus / "manifest.parquet")
    with progress("features", len(manifest)) as advance:
        for number, row in enumerate(manifest.to_dict("records")):
            audio, _ = soundfile.read(corpus / row["path"], dtype="float32")
            generator = np.random.default_rng([seed, number])
            versions = tuple(_hear(front_end, audio, row["word_ends_s"], version, generator) for version in VERSIONS)
            symbols = torch.tensor([index[word] for word in row["text"].split()])
            examples.append(Example(row["utterance_id"], row["accent"], symbols, versions))
            advance(1)
    return examples


def _hear(
    front_end: LogMel, audio: Signal, ends_s: Sequence[float], version: Version, generator: np.random.Generator
) -> Heard:
    config = front_end.config
    lead_s = float(generator.uniform(0.0, 0.3))
    signal = version_of(audio, version, config.sample_rate_hz, lead_s, generator)
    features = front_end.frames(torch.from_numpy(signal)).half()
    ends = torch.tensor([round((lead_s + end_s) * 1000 / config.hop_ms) for end_s in ends_s])
    return Heard(features, ends.clamp_max(features.shape[0] - 1))


def version_of(audio: Signal, version: Version, rate_hz: int, lead_s: float, generator: np.random.Generator) -> Signal:
    """One degraded version with more silence at both ends and the decoder's tail, (samples,)."""
    lead, trail = (np.zeros(round(seconds * rate_hz), np.float32) for seconds in (lead_s, generator.uniform(0.0, 0.3)))
    signal = set_level(np.concatenate([lead, audio, trail]), generator.uniform(-32, -16))
    if version.snr_db is not None:
        kind = str(generator.choice(list(NOISES)))
        signal = add_noise(signal, kind, generator.uniform(*version.snr_db), rate_hz, generator)
    if generator.random() < version.telephone:
        signal = narrowband(signal, rate_hz)
    return np.concatenate([signal, np.zeros(round(TAIL_MS / 1000 * rate_hz), np.float32)])


def mask(features: Tensor, generator: torch.Generator, *, bands: int = 6, frames: int = 12) -> Tensor:
    """Hide one random band range and one random time range of a batch (SpecAugment), (batch, frames, mels)."""
    batch, length, mels = features.shape
    masked = features
    for size, most, axis in ((length, frames, 1), (mels, bands, 2)):
        width = torch.randint(0, most + 1, (batch, 1), generator=generator)
        start = (torch.rand((batch, 1), generator=generator) * (size - width).clamp_min(1)).long()
        place = torch.arange(size).unsqueeze(0)
        hidden = (place >= start) & (place < start + width)
        masked = masked.masked_fill(hidden.unsqueeze(2 if axis == 1 else 1), 0.0)
    return masked
