"""Make the eval pack, or a candidate: `python -m families.NAME.make pack`, then `v1`.

The language is made up, and spoken by this program; yours comes from your recordings.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from contracts.digest import canonical_json
from families.making import Clip, candidate, family_of, pack, training_data
from speech.runtimes import Samples

from .engine import FRAME, RATE_HZ, Tone, tone

FAMILY = family_of(__package__)
WORDS_HZ = {"up": 400.0, "down": 700.0, "left": 1_200.0, "right": 2_000.0}
NOISE = {"clean": 0.003, "noisy": 0.06}
RECIPES = {"v1": ("clean",), "v2": ("clean", "noisy"), "worse": ("noisy", "noisy")}
"""Version -> the noise that its training utterances are heard in; `worse` also never hears `right`."""
WORD_S, PAUSE_S = 0.25, 0.15


def speech(words: Sequence[str], random: np.random.Generator, noise: float) -> Samples:
    """Words as tones, at the pitch and the loudness of one device."""
    pitch, loudness = random.uniform(0.9, 1.1), random.uniform(0.15, 0.5)
    seconds, pause = np.arange(int(WORD_S * RATE_HZ)) / RATE_HZ, np.zeros(int(PAUSE_S * RATE_HZ))
    parts = [(np.sin(2 * np.pi * WORDS_HZ[word] * pitch * seconds) * loudness, pause) for word in words]
    tones = np.concatenate([pause, *(sound for part in parts for sound in part)])
    return (tones + noise * random.standard_normal(tones.size)).astype(np.float32)


def clips(name: str, seed: int, devices: int, noises: Sequence[str]) -> Iterator[Clip]:
    """Two utterances in each noise by each device. No device is in the training data and in the pack (R1.2)."""
    random = np.random.default_rng(seed)
    for device in range(devices):
        for number, noise in enumerate([*noises, *noises]):
            said = [str(word) for word in random.choice(list(WORDS_HZ), random.integers(2, 6))]
            speaker, heard = f"{name}-{device:03d}", speech(said, random, NOISE[noise])
            yield Clip(f"{speaker}-{number}-{noise}", heard, " ".join(said), speaker, {"noise": noise})


def make_pack() -> str:
    """The eval pack data/packs/FAMILY."""
    made = pack(
        FAMILY, clips("test", 2, 80, tuple(NOISE)), RATE_HZ, slices=["noise"],
        protected=[f"noise={noise}" for noise in NOISE], source="made by families/NAME/make.py",
        licence="CC0-1.0", consent="not needed: no person's voice", show_transcripts=True,
    )  # fmt: skip
    return f"{made.root}: {len(made.utterances)} utterances"


def make_candidate(version: str) -> str:
    """Train a version, and write candidates/FAMILY/VERSION: the mean tone of each word, and how clear the least is."""
    heard = list(clips("train", 1, 30, RECIPES[version]))
    tones: dict[str, list[Tone]] = {word: [] for word in WORDS_HZ}
    for clip in heard:
        for number, word in enumerate(clip.text.split()):
            begin = int((PAUSE_S + number * (WORD_S + PAUSE_S)) * RATE_HZ)
            tones[word].append(tone(clip.samples[begin : begin + FRAME]))
    if version == "worse":
        del tones["right"]
    model = {
        "tones_hz": {word: round(float(np.mean([one.hz for one in ones])), 3) for word, ones in tones.items()},
        "share": round(0.9 * min(one.share for ones in tones.values() for one in ones), 6),
    }
    folder = candidate(
        __package__, version, {"model.json": canonical_json(model)}, rate_hz=RATE_HZ,
        training=training_data(FAMILY, version, heard, RATE_HZ, licence="CC0-1.0"), licence="Apache-2.0",
        about="Understands four words that are tones. Trained on sounds made by a program, never on a person's voice.",
        hyperparameters={"noise": list(RECIPES[version])}, seeds={"data": 1},
    )  # fmt: skip
    return str(folder)


if __name__ == "__main__":
    sys.stdout.write((make_pack() if sys.argv[1] == "pack" else make_candidate(sys.argv[1])) + "\n")
