"""Make the eval pack, or a candidate: `python -m families.NAME.make pack`, then `v1`.

The words are spoken by espeak-ng; yours come from your speaker.
"""

from __future__ import annotations

import string
import sys
from collections.abc import Callable

import numpy as np
from safetensors.numpy import save

from families.making import Clip, candidate, family_of, pack
from speech.corpus import speech_bounds
from speech.noise import narrowband
from speech.runtimes import Samples
from speech.synthesis import speak_all

from .engine import RATE_HZ

FAMILY = family_of(__package__)
VOICE = "en-us+m3"
PLACES, PLATFORMS = ("london", "paris", "boston", "madrid"), ("one", "two", "three", "four", "five")
WORDS = ("the", "train", "to", "leaves", "from", "platform", "please", "wait", "on", *PLACES, *PLATFORMS)
SPELLED = string.ascii_lowercase + string.digits
RECIPES: dict[str, Callable[[Samples], Samples]] = {
    "v1": lambda sound: narrowband(sound, RATE_HZ),
    "v2": lambda sound: sound,
    "worse": lambda sound: sound[: sound.size * 6 // 10],
}
"""Version -> what becomes of a recording: as from a telephone; as it is; cut off before its end."""


def make_pack() -> str:
    """The eval pack data/packs/FAMILY: announcements, each with a recording of the reference voice."""
    trains = [f"The train to {place} leaves from platform {number}." for place in PLACES for number in PLATFORMS[:3]]
    waits = [f"Please wait on platform {number}." for number in PLATFORMS]
    texts = [(text, "train") for text in trains] + [(text, "wait") for text in waits]
    spoken = speak_all([(text, VOICE) for text, _ in texts], RATE_HZ)
    clips = [
        Clip(f"{kind}-{number:02d}", heard, text, "reference", {"kind": kind})
        for number, ((text, kind), heard) in enumerate(zip(texts, spoken, strict=True))
    ]
    made = pack(
        FAMILY, clips, RATE_HZ, slices=["kind"], protected=["kind=train"], source="espeak-ng", licence="CC0-1.0",
        consent="not needed: no person's voice", show_transcripts=True,
    )  # fmt: skip
    return f"{made.root}: {len(made.utterances)} texts"


def make_candidate(version: str) -> str:
    """Record every word, letter and digit, and write candidates/FAMILY/VERSION."""
    names = [*WORDS, *SPELLED]
    sounds = []
    for sound in speak_all([(name, VOICE) for name in names], RATE_HZ):
        first, last = speech_bounds(sound)
        sounds.append(RECIPES[version](sound[first:last]))
    recordings = {
        name: (sound.clip(-1, 1) * 32_767).astype(np.int16) for name, sound in zip(names, sounds, strict=True)
    }
    folder = candidate(
        __package__, version, {"recordings.safetensors": save(recordings)}, rate_hz=RATE_HZ, licence="Apache-2.0",
        base_model="espeak-ng, voice en-us+m3",
        about="Announces trains, word by word. Other words are spelled. Made of synthetic speech, not of a person's.",
    )  # fmt: skip
    return str(folder)


if __name__ == "__main__":
    sys.stdout.write((make_pack() if sys.argv[1] == "pack" else make_candidate(sys.argv[1])) + "\n")
