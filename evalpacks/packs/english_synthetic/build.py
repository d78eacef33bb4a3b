"""Build the pack english-synthetic: English sentences spoken by a synthesiser that the caller brings.

Boundary: writes the pack's folder; speech comes from the injected function, so that this room knows no synthesiser.
Invariants: the same synthesiser and seed give the same pack digest; every speaker says sentences of every length; the
folder appears whole or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import yaml

from contracts.digest import sha256_file
from evalpacks import pack
from evalpacks.packs.english_human.build import length_slice, word_count

Progress = Callable[[int, int], None]
"""Called with (utterances done, utterances in all)."""

Synthesise = Callable[[str, str, int], npt.NDArray[np.float32]]
"""(text, voice, seed) -> samples (n,) in [-1, 1] at SAMPLE_RATE_HZ; voice is a name of espeak-ng like `en-us+f3`."""

SAMPLE_RATE_HZ = 16_000
ACCENTS = {
    "us": "en-us",
    "british": "en",
    "scottish": "en-gb-scotland",
    "rp": "en-gb-x-rp",
    "caribbean": "en-029",
    "lancashire": "en-gb-x-gbclan",
}
VARIANTS = ("m3", "m6", "f2", "f5", "klatt4")
SENTENCES_A_SPEAKER = 12
_FOLDER = Path(__file__).parent


class Plan(NamedTuple):
    """One utterance to be spoken: who says what."""

    utterance_id: str
    speaker: str
    accent: str
    voice: str
    text: str
    seed: int


def build(out: Path, *, synthesise: Synthesise, seed: int = 0, on_progress: Progress | None = None) -> Path:
    """Write the pack into the folder `out`, replacing one that is there, and return it."""
    import pandas

    plans = plan_pack((_FOLDER / "sentences.txt").read_text(encoding="utf-8").splitlines(), seed)
    partial = out.with_name(f".{out.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "audio").mkdir(parents=True)
    rows = []
    for done, plan in enumerate(plans, start=1):
        rows.append(_row(plan, synthesise(plan.text, plan.voice, plan.seed), partial))
        if on_progress is not None:
            on_progress(done, len(plans))
    card = yaml.safe_load((_FOLDER / "pack.yaml").read_text(encoding="utf-8"))
    pack.write(partial, card, pandas.DataFrame(rows))
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    return out


def plan_pack(sentences: list[str], seed: int) -> list[Plan]:
    """Who says what: every speaker says every n-th sentence, beginning one further than the speaker before."""
    speakers = [(accent, variant) for accent in ACCENTS for variant in VARIANTS]
    step = len(sentences) // SENTENCES_A_SPEAKER
    return [
        Plan(
            utterance_id=f"{accent}-{variant}-{place:02d}",
            speaker=f"espeak-{accent}-{variant}",
            accent=accent,
            voice=f"{ACCENTS[accent]}+{variant}",
            text=sentences[place],
            seed=seed + number,
        )
        for number, (accent, variant) in enumerate(speakers)
        for place in range(number % step, len(sentences), step)
    ]


def _row(plan: Plan, samples: npt.NDArray[np.float32], root: Path) -> dict[str, Any]:
    """Write one utterance as PCM16 and describe it."""
    import soundfile

    path = f"audio/{plan.utterance_id}.wav"
    soundfile.write(root / path, np.clip(samples, -1.0, 1.0), SAMPLE_RATE_HZ, subtype="PCM_16")
    return {
        "utterance_id": plan.utterance_id,
        "path": path,
        "text": plan.text,
        "speaker": plan.speaker,
        "duration_s": len(samples) / SAMPLE_RATE_HZ,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "sha256": sha256_file(root / path),
        "language": "en",
        "length": length_slice(word_count(plan.text)),
        "accent": plan.accent,
    }
