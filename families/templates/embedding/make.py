"""Make the eval pack, or a candidate: `python -m families.NAME.make pack`, then `v1`.

The voices are made by this program; yours come from your recordings.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from contracts.digest import canonical_json
from families.making import Clip, candidate, family_of, pack, training_data
from speech.runtimes import Samples

from .engine import BANDS, FRAME, RATE_HZ, timbre

FAMILY = family_of(__package__)
NOISE = {"clean": 0.001, "noisy": 0.03}
RECIPES = {"v1": (0.0, BANDS), "v2": (0.5, BANDS), "worse": (0.5, 4)}
"""Version -> the share of frames that is left out as too quiet, and how many bands are heard."""
FRAMES = 60


def voice(timbre_db: npt.NDArray[np.float64], random: np.random.Generator, noise: float) -> Samples:
    """Sound of a speaker's timbre in every other stretch of ten frames, and noise all the time."""
    gains = np.repeat(10 ** ((timbre_db + random.normal(0, 3, BANDS)) / 20), FRAME // 2 // BANDS + 1)[: FRAME // 2 + 1]
    spectra = gains * np.exp(2j * np.pi * random.random((FRAMES, gains.size)))
    sound = np.fft.irfft(spectra, FRAME)
    sound *= (np.arange(FRAMES) // 10 % 2 == 0)[:, None] * 0.1 / sound.std()
    return (sound.ravel() + noise * random.standard_normal(sound.size)).astype(np.float32)


def clips(name: str, seed: int, speakers: int, noises: tuple[str, ...]) -> Iterator[Clip]:
    """Each speaker enrols with two clean utterances and is tried with two in each noise.

    No speaker is in the training data and in the pack (R1.2).
    """
    random = np.random.default_rng(seed)
    for number in range(speakers):
        speaker, timbre_db = f"{name}-{number:03d}", random.normal(0, 6, BANDS)
        takes = [("enrolment", "clean")] * 2 + [("probe", noise) for noise in noises for _ in range(2)]
        for take, (role, noise) in enumerate(takes):
            heard = voice(timbre_db, random, NOISE[noise])
            yield Clip(f"{speaker}-{take}", heard, "a voice", speaker, {"role": role, "noise": noise})


def make_pack() -> str:
    """The eval pack data/packs/FAMILY."""
    made = pack(
        FAMILY, clips("test", 2, 80, tuple(NOISE)), RATE_HZ, slices=["noise"],
        protected=[f"noise={noise}" for noise in NOISE], source="made by families/NAME/make.py",
        licence="CC0-1.0", consent="not needed: no person's voice",
    )  # fmt: skip
    return f"{made.root}: {len(made.utterances)} utterances"


def make_candidate(version: str) -> str:
    """Train a version, and write candidates/FAMILY/VERSION: the mean timbre of the training data's voices."""
    quietest, bands = RECIPES[version]
    heard = list(clips("train", 1, 60, ("clean",)))
    mean = np.mean([timbre(clip.samples, quietest) for clip in heard], axis=0)
    model = {
        "space": f"{FAMILY}-{BANDS}",  # the name of the vectors, not of the version: change it when they do not compare
        "quietest": quietest,
        "mean": [round(float(value), 5) for value in mean],
        "heard": [int(band < bands) for band in range(BANDS)],
    }
    folder = candidate(
        __package__, version, {"model.json": canonical_json(model)}, rate_hz=RATE_HZ,
        training=training_data(FAMILY, version, heard, RATE_HZ, licence="CC0-1.0"), licence="Apache-2.0",
        about="Tells made-up voices apart by their timbre. Trained on sounds made by a program, never on a person.",
        hyperparameters={"quietest": quietest, "bands": bands}, seeds={"data": 1},
    )  # fmt: skip
    return str(folder)


if __name__ == "__main__":
    sys.stdout.write((make_pack() if sys.argv[1] == "pack" else make_candidate(sys.argv[1])) + "\n")
