"""Make the eval pack, or a candidate: `python -m families.NAME.make pack`, then `v1`.

The sounds are made by this program; yours come from your recordings.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
from safetensors.numpy import save

from families.making import Clip, candidate, family_of, pack, training_data
from speech.runtimes import Samples

from .engine import CLASSES, RATE_HZ, picture

FAMILY = family_of(__package__)
NOISE = {"clean": 0.003, "noisy": 0.3}
RECIPES = {"v1": ("clean",), "v2": ("clean", "noisy"), "worse": ("noisy",)}
"""Version -> the noise that its training clips are heard in; `worse` also never hears an alarm."""
SECONDS = 0.5


def sound(label: str, random: np.random.Generator, noise: float) -> Samples:
    """A bell falls from one tone to another, an alarm goes back and forth between two, other sounds are hum."""
    seconds = np.arange(int(SECONDS * RATE_HZ)) / RATE_HZ
    high = {"alarm": seconds * 8 % 1 < 0.5, "bell": seconds < SECONDS / 2, "other": seconds < 0}[label]
    tones_hz = {"alarm": (3_000, 2_000), "bell": (880, 660), "other": (120, 120)}[label]
    phase = np.cumsum(np.where(high, *tones_hz)) * random.uniform(0.9, 1.1) / RATE_HZ
    tone = np.sin(2 * np.pi * phase) * random.uniform(0.1, 0.5)
    return (tone + noise * random.standard_normal(tone.size)).astype(np.float32)


def clips(name: str, seed: int, devices: int, noises: tuple[str, ...]) -> Iterator[Clip]:
    """A clip of each label and noise by each device. No device is in the training data and in the pack (R1.2)."""
    random = np.random.default_rng(seed)
    for device in range(devices):
        for noise in noises:
            for label in CLASSES:
                speaker = f"{name}-{device:03d}"
                slices = {"label": label, "noise": noise}
                yield Clip(f"{speaker}-{label}-{noise}", sound(label, random, NOISE[noise]), label, speaker, slices)


def make_pack() -> str:
    """The eval pack data/packs/FAMILY."""
    made = pack(
        FAMILY, clips("test", 2, 80, tuple(NOISE)), RATE_HZ, slices=["label", "noise"],
        protected=[*(f"label={label}" for label in CLASSES), *(f"noise={noise}" for noise in NOISE)],
        source="made by families/NAME/make.py", licence="CC0-1.0", consent="not needed: no person's voice",
    )  # fmt: skip
    return f"{made.root}: {len(made.utterances)} clips"


def make_candidate(version: str) -> str:
    """Train a version, and write candidates/FAMILY/VERSION."""
    heard = list(clips("train", 1, 30, RECIPES[version]))
    if version == "worse":
        heard = [clip for clip in heard if clip.text != "alarm"]
    centres = np.full((len(CLASSES), picture(heard[0].samples).size), 99.0, dtype=np.float32)
    for row, label in enumerate(CLASSES):
        pictures = [picture(clip.samples) for clip in heard if clip.text == label]
        centres[row] = np.mean(pictures, axis=0) if pictures else centres[row]
    folder = candidate(
        __package__, version, {"weights.safetensors": save({"centres": centres})}, rate_hz=RATE_HZ,
        training=training_data(FAMILY, version, heard, RATE_HZ, licence="CC0-1.0"), licence="Apache-2.0",
        about="Tells alarms and bells from other sounds. Trained on sounds made by a program, never on a recording.",
        hyperparameters={"noise": list(RECIPES[version])}, seeds={"data": 1},
    )  # fmt: skip
    return str(folder)


if __name__ == "__main__":
    sys.stdout.write((make_pack() if sys.argv[1] == "pack" else make_candidate(sys.argv[1])) + "\n")
