"""Packs of synthetic speech: who says what, recorded by a studio that the caller brings.

Purpose: the shared half of english-synthetic, entities, code-switching, long-form and robustness; each of them only
plans utterances.
Boundary: writes the pack's folder; speech comes from the injected studio, so that this room knows no synthesiser.
Invariants: the same studio, plan and card give the same pack digest; a speaker is voice + variant + pitch (U4).
Source: statistics U4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from evalpacks.packs.making import Progress, audio_columns, whole_folder, write_pack

SPEEDS_WPM = (150, 175, 200)


class Line(NamedTuple):
    """Words that one voice says without a break; `pause_s` is the silence before the next line."""

    text: str
    voice: str
    rate_wpm: int
    pitch: int
    pause_s: float = 0.0


class Speaker(NamedTuple):
    """Somebody who can be asked to say a text in a language."""

    name: str
    accent: str
    voice: str
    variant: str
    rate_wpm: int
    pitch: int

    def says(self, text: str, *, voice: str | None = None, pause_s: float = 0.0) -> Line:
        """A line of this speaker; `voice` is another language of espeak-ng than the speaker's own."""
        return Line(text, f"{voice or self.voice}+{self.variant}", self.rate_wpm, self.pitch, pause_s)


class Utterance(NamedTuple):
    """One utterance to be recorded.

    Attributes:
        columns: its slices and other columns of the table.
        condition: how it is heard, a name that the studio knows.
        background: what others say meanwhile, under the condition `babble`.
    """

    utterance_id: str
    speaker: str
    text: str
    lines: tuple[Line, ...]
    columns: Mapping[str, str]
    seed: int
    language: str = "en"
    condition: str = "clean"
    background: tuple[Line, ...] = ()
    lead_s: float = 0.25
    trail_s: float = 0.3


class Studio(Protocol):
    """Voices to cast from, and the recording of utterances."""

    @property
    def accents(self) -> Mapping[str, str]:
        """English accent -> voice."""

    @property
    def variants(self) -> Sequence[str]:
        """Variants of every voice, each another person."""

    def record(self, scripts: Sequence[Utterance], folder: Path, on_progress: Progress | None) -> Mapping[str, float]:
        """Write `audio/ID.wav` of every utterance below `folder`; ID -> end of speech in s from the start."""


def cast(studio: Studio, accents: Sequence[str], generator: np.random.Generator) -> list[Speaker]:
    """Every variant with every accent, each at a pitch and a speed of its own."""
    return [
        Speaker(
            name=f"{accent}-{variant.lower()}-p{pitch}",
            accent=accent,
            voice=studio.accents[accent],
            variant=variant,
            rate_wpm=int(generator.choice(SPEEDS_WPM)),
            pitch=pitch,
        )
        for accent in accents
        for variant in studio.variants
        for pitch in [int(generator.integers(25, 75))]
    ]


def record_pack(
    out: Path,
    card: Mapping[str, Any],
    utterances: Sequence[Utterance],
    studio: Studio,
    *,
    on_progress: Progress | None = None,
    derive: Callable[[dict[str, Any]], dict[str, Any]] = lambda _row: {},
) -> Path:
    """Record the utterances into the folder `out`, replacing one that is there, and return it.

    `derive` gives columns that follow from the recording (its row in the table).
    """
    with whole_folder(out) as folder:
        ends_s = studio.record(utterances, folder, on_progress)
        rows = []
        for said in utterances:
            row = audio_columns(folder, said.utterance_id) | {
                "text": said.text,
                "speaker": said.speaker,
                "language": said.language,
                "speech_end_s": ends_s[said.utterance_id],
                **said.columns,
            }
            rows.append(row | derive(row))
        write_pack(folder, card, rows)
    return out
