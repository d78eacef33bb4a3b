"""Make the eval pack, or a candidate: `python -m families.NAME.make pack`, then `v1`.

Questions and documents are made up, and asked by this program; yours come from your recordings and your tenants.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product

import numpy as np

from contracts.digest import canonical_json
from families.making import Clip, candidate, family_of, pack, training_data
from speech.assistant.documents import Chunker, SourceDocument, TenantDocuments, ingest
from speech.assistant.index import build_index
from speech.runtimes import Samples

from .engine import FRAME, RATE_HZ, tones

FAMILY = family_of(__package__)
WORDS_HZ = {"opens": 300.0, "closes": 430.0, "ticket": 620.0, "child": 900.0, "lost": 1_300.0, "parking": 1_900.0}
NOISE = {"clean": 0.003, "noisy": 0.06}
RECIPES = {"v1": ("clean",), "v2": ("clean", "noisy"), "worse": ("clean", "noisy")}
"""Version -> the noise that its training questions are heard in; the documents of `worse` changed after its index."""
WORD_S, PAUSE_S, SILENCE_S = 0.25, 0.15, 0.3
CHANGED = datetime(2026, 11, 2, 8, tzinfo=UTC)
DOCUMENTS = {
    "museum": {
        "hours": "The museum opens at nine. It closes at five.",
        "prices": "A ticket costs six pounds. A child ticket costs nothing.",
    },
    "station": {
        "hours": "The station opens at four. It closes at midnight.",
        "services": "What was lost is kept for a week. For parking you pay two pounds.",
    },
}
QUESTIONS = {
    "museum": {
        "opens": ("at nine", "hours"), "closes": ("at five", "hours"), "ticket": ("six pounds", "prices"),
        "child ticket": ("nothing", "prices"), "parking": (),
    },
    "station": {
        "opens": ("at four", "hours"), "closes": ("at midnight", "hours"), "lost": ("a week", "services"),
        "parking": ("two pounds", "services"), "child ticket": (),
    },
}  # fmt: skip
"""What a tenant's users ask -> the fact of the right answer and its document; nothing where the documents have none."""


def speech(words: Sequence[str], random: np.random.Generator, noise: float) -> Samples:
    """Words as tones, at the pitch and the loudness of one device, and the silence that ends a turn."""
    pitch, loudness = random.uniform(0.9, 1.1), random.uniform(0.15, 0.5)
    seconds, pause = np.arange(int(WORD_S * RATE_HZ)) / RATE_HZ, np.zeros(int(PAUSE_S * RATE_HZ))
    parts = [(np.sin(2 * np.pi * WORDS_HZ[word] * pitch * seconds) * loudness, pause) for word in words]
    heard = np.concatenate([pause, *(sound for part in parts for sound in part), np.zeros(int(SILENCE_S * RATE_HZ))])
    return (heard + noise * random.standard_normal(heard.size)).astype(np.float32)


def clips(name: str, seed: int, devices: int, noises: Sequence[str]) -> Iterator[Clip]:
    """Every tenant is asked two questions in each noise by each device, the second over the reply to the first.

    No device is in the training data and in the pack (R1.2).
    """
    random = np.random.default_rng(seed)
    for device, tenant, noise in product(range(devices), QUESTIONS, noises):
        over, speaker = "", f"{name}-{device:03d}"
        for place, asked in enumerate(random.permutation(list(QUESTIONS[tenant]))[:2]):
            heard, named = speech(str(asked).split(), random, NOISE[noise]), f"{speaker}-{tenant}-{noise}-{place}"
            right = QUESTIONS[tenant][str(asked)]
            yield Clip(
                named, heard, str(asked), speaker,
                {
                    "tenant": tenant, "noise": noise, "speech_end_s": heard.size / RATE_HZ - SILENCE_S,
                    "answer": json.dumps(right[:1]), "cites": json.dumps(right[1:]), "interrupts": over,
                },
            )  # fmt: skip
            over = f"audio/{named}.wav"


def make_pack() -> str:
    """The eval pack data/packs/FAMILY."""
    made = pack(
        FAMILY, clips("test", 2, 60, tuple(NOISE)), RATE_HZ, slices=["tenant", "noise"],
        protected=[f"tenant={tenant}" for tenant in DOCUMENTS], source="made by families/NAME/make.py",
        licence="CC0-1.0", consent="not needed: no person's voice", show_transcripts=True,
    )  # fmt: skip
    return f"{made.root}: {len(made.utterances)} questions"


def knowledge(tenant: str, *, changed: bool) -> dict[str, bytes]:
    """A tenant's documents and their index; where they changed, the index is of how they were before."""

    def worded(at: str) -> TenantDocuments:
        texts = {name: text.replace(" at ", f" {at} ") for name, text in DOCUMENTS[tenant].items()}
        listed = tuple(SourceDocument(id=name, updated_at=CHANGED, text=text) for name, text in texts.items())
        return ingest(tenant, tenant.title(), listed, Chunker(unit="sentences", size=2))

    served, indexed = worded("from" if changed else "at"), build_index(worded("at"), version=1)
    return {f"documents/{tenant}.json": served.canonical(), f"index/{tenant}.json": indexed.canonical()}


def make_candidate(version: str) -> str:
    """Train a version, and write candidates/FAMILY/VERSION: the mean tone of each word, and how clear the least is."""
    heard = list(clips("train", 1, 30, RECIPES[version]))
    found: dict[str, list[tuple[float, float]]] = {word: [] for word in WORDS_HZ}
    for clip in heard:
        for number, word in enumerate(clip.text.split()):
            begin = int((PAUSE_S + number * (WORD_S + PAUSE_S)) * RATE_HZ)
            hz, share = tones(clip.samples[begin : begin + FRAME])
            found[word].append((float(hz[0]), float(share[0])))
    model = {
        "tones_hz": {word: round(float(np.mean(ones, axis=0)[0]), 3) for word, ones in found.items()},
        "share": round(0.9 * min(share for ones in found.values() for _, share in ones), 6),
    }
    payload = {"model.json": canonical_json(model)}
    for tenant in DOCUMENTS:
        payload |= knowledge(tenant, changed=version == "worse")
    folder = candidate(
        __package__, version, payload, rate_hz=RATE_HZ,
        training=training_data(FAMILY, version, heard, RATE_HZ, licence="CC0-1.0"), licence="Apache-2.0",
        about="Answers questions that are tones by quoting documents. Trained on sounds made by a program.",
        hyperparameters={"noise": list(RECIPES[version])}, seeds={"data": 1},
    )  # fmt: skip
    return str(folder)


if __name__ == "__main__":
    sys.stdout.write((make_pack() if sys.argv[1] == "pack" else make_candidate(sys.argv[1])) + "\n")
