"""The synthetic corpus of voice commands: what is said, by whom, in which noise; for training and as an eval pack.

Purpose: `python -m speech.corpus` writes the training utterances (clean, for `speech.ctc` to augment) and the eval pack
`commands` (noise and codecs already applied).
Boundary: planning is pure; `main` alone reads params.yaml and writes below data/.
Invariants: everything follows from the seed; a speaker is voice + variant + pitch, and no variant of a test speaker is
heard in training; texts are written as they are spoken, so that no normaliser is needed; the result does not depend on
the number of processes, because espeak-ng carries state from text to text and each shard has a process of its own.
Source: release-algorithm R1.2; statistics U4.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.digest import sha256_file
from speech.noise import NOISES, Signal, add_noise, narrowband, non_speech_clips, set_level
from speech.shards import dealt, in_fresh_processes

__all__ = ["WORDS", "command", "main", "non_speech_clips", "plan_pack", "plan_training", "render"]

LICENCE = "CC0-1.0 (synthetic, espeak-ng)"
PACK_CARD = Path("evalpacks/packs/commands/pack.yaml")
"""The card of the eval pack, below the project's folder."""

ACCENTS = {
    "us": "en-us",
    "british": "en",
    "scottish": "en-gb-scotland",
    "rp": "en-gb-x-rp",
    "caribbean": "en-029",
    "lancashire": "en-gb-x-gbclan",
}

# Variants of espeak-ng that sound like people and give the same samples each time; those with breath noise do not.
TEST_VARIANTS = (
    "Alex", "Andy", "Denis", "Hugo", "Lee", "Michael", "Reed", "adam", "anika", "belinda", "benjamin", "boris",
    "david", "edward", "f4", "gustave", "iven3", "klatt4", "linda", "m3", "m6", "marcelo", "pablo", "shelby",
)  # fmt: skip
TRAIN_VARIANTS = (
    "Andrea", "Annie", "AnxiousAndy", "Diogo", "Gene", "Gene2", "Henrique", "Jacky", "Marco", "Mario", "Mike",
    "Nguyen", "Storm", "Tweaky", "announcer", "antonio", "aunty", "caleb", "ed", "edward2", "f1", "grandma",
    "grandpa", "ian", "iven", "iven2", "iven4", "john", "kaukovalta", "klatt3", "klatt5", "klatt6", "m1", "m2", "m4",
    "m5", "m7", "m8", "max", "michel", "miguel", "mike2", "norbert", "paul", "pedro", "quincy", "rob", "robert",
    "steph", "steph2", "travis", "zac",
)  # fmt: skip

SPEEDS_WPM = {"slow": 140, "normal": 175, "fast": 230}
SNR_DB = {"20db": 20.0, "10db": 10.0, "5db": 5.0}
CODECS = ("pcm", "mulaw8k")
PITCHES = ((25, 50), (50, 75))

ROOMS = ("kitchen", "bedroom", "bathroom", "garage", "hall", "office")
DEVICES = ("light", "heater", "fan", "radio", "alarm")
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "thirteen", "thirty")
UNITS = ("minutes", "seconds", "hours")
SUBJECTS = ("music", "news", "jazz", "radio")
PEOPLE = ("doctor", "mother", "brother", "office")
OPENINGS = ("window", "door", "curtains")
STATES = ("on", "off")
TEMPLATES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("turn", "switch"), STATES, ("the",), ROOMS, DEVICES),
    (("turn", "switch"), STATES, ("the",), DEVICES),
    (("turn", "switch"), ("the",), ROOMS, DEVICES, STATES),
    (("set", "start"), ("the",), ("timer",), ("for",), NUMBERS, UNITS),
    (("set",), ("the",), ("heater",), ("for",), NUMBERS, ("hours",)),
    (("play", "stop", "start"), ("the",), SUBJECTS),
    (("play",), SUBJECTS),
    (("play",), ("the",), SUBJECTS, ("in",), ("the",), ROOMS),
    (("call",), PEOPLE),
    (("call",), ("the",), PEOPLE),
    (("open", "close", "lock"), ("the",), ROOMS, OPENINGS),
    (("open", "close", "lock"), ("the",), OPENINGS),
    (("volume",), ("up", "down")),
    (("volume",), ("up", "down"), NUMBERS),
    (("channel",), NUMBERS),
    (("stop",), ("the",), ("timer", "alarm")),
)
DIALECTS = {
    "scottish": {
        "turn": "pit",
        "switch": "pit",
        "on": "oan",
        "off": "aff",
        "light": "licht",
        "down": "doon",
        "close": "steek",
        "stop": "haud",
        "call": "phone",
        "kitchen": "scullery",
        "hall": "lobby",
        "bathroom": "lavvy",
        "radio": "wireless",
        "window": "winnock",
        "mother": "maw",
        "bedroom": "chaumer",
        "curtains": "hingers",
        "door": "yett",
        "lock": "sneck",
        "play": "birl",
        "start": "yoke",
        "in": "ben",
        "timer": "knock",
        "hours": "oors",
        "heater": "ingle",
        "volume": "soond",
    }
}
"""Accent -> words that its speakers say instead: regional speech is more than a regional sound."""

WORDS: tuple[str, ...] = tuple(
    sorted(
        {word for template in TEMPLATES for slot in template for word in slot}
        | {word for dialect in DIALECTS.values() for word in dialect.values()}
    )
)
"""Every word of the grammar, dialects included."""

Split = Literal["train", "test"]


class Utterance(NamedTuple):
    """One utterance as it will be made; `snr_db` None is clean, `pitch` 0 to 99, `level_db` RMS to full scale."""

    utterance_id: str
    split: Split
    text: str
    accent: str
    variant: str
    pitch: int
    speed: str
    noise: str
    noise_kind: str
    codec: str
    level_db: float
    lead_s: float
    trail_s: float
    seed: int

    @property
    def speaker(self) -> str:
        """Voice + variant + pitch (U4)."""
        return f"{self.accent}-{self.variant.lower()}-p{self.pitch}"

    @property
    def length(self) -> str:
        """`short` to 2 words, `mid` to 4, else `long`."""
        words = len(self.text.split())
        return "short" if words <= 2 else "mid" if words <= 4 else "long"


def command(generator: np.random.Generator, accent: str = "us") -> str:
    """A command of the grammar as a speaker of the accent says it; each template is as likely as the next."""
    template = TEMPLATES[int(generator.integers(len(TEMPLATES)))]
    dialect = DIALECTS.get(accent, {})
    words = [str(generator.choice(slot)) for slot in template]
    return " ".join(dialect.get(word, word) for word in words)


def different_commands(accent: str, count: int, generator: np.random.Generator) -> list[str]:
    """So many commands, each once."""
    said: dict[str, None] = {}
    while len(said) < count:
        said.setdefault(command(generator, accent))
    return list(said)


def plan_training(seed: int, per_accent: int) -> list[Utterance]:
    """Clean utterances of the training speakers, `per_accent` of each accent; noise is added in training."""
    plans = []
    for place, accent in enumerate(ACCENTS):
        generator = np.random.default_rng([seed, 1, place])
        for index in range(per_accent):
            variant = TRAIN_VARIANTS[index % len(TRAIN_VARIANTS)]
            plans.append(_utterance(generator, "train", accent, index, variant, noise="clean", codec="pcm"))
    return plans


def plan_pack(seed: int, shares: dict[str, int]) -> list[Utterance]:
    """Utterances of the eval pack: for each accent and test speaker, `shares[noise]` utterances of each noise level.

    Each test variant speaks at a low and at a high pitch: two speakers.
    """
    plans = []
    for place, accent in enumerate(ACCENTS):
        generator = np.random.default_rng([seed, 2, place])
        index = 0
        for variant, (low, high) in product(TEST_VARIANTS, PITCHES):
            pitch = int(generator.integers(low, high))
            for noise in (noise for noise, count in shares.items() for _ in range(count)):
                codec = CODECS[int(generator.random() < 0.15)] if noise in ("clean", "20db") else "pcm"
                plan = _utterance(generator, "test", accent, index, variant, noise=noise, codec=codec)
                plans.append(plan._replace(pitch=pitch))
                index += 1
    return plans


def _utterance(
    generator: np.random.Generator, split: Split, accent: str, index: int, variant: str, *, noise: str, codec: str
) -> Utterance:
    return Utterance(
        utterance_id=f"{split}-{accent}-{index:04d}",
        split=split,
        text=command(generator, accent),
        accent=accent,
        variant=variant,
        pitch=int(generator.integers(25, 75)),
        speed=str(generator.choice(list(SPEEDS_WPM), p=[0.25, 0.5, 0.25])),
        noise=noise,
        noise_kind=str(generator.choice(list(NOISES))),
        codec=codec,
        level_db=float(generator.uniform(-30, -18)),
        lead_s=float(generator.uniform(0.05, 0.35)),
        trail_s=float(generator.uniform(0.05, 0.25)),
        seed=int(generator.integers(1 << 31)),
    )


def degrade(plan: Utterance, speech: Signal, rate_hz: int) -> Signal:
    """The planned silence, level, noise and codec around bare speech, (samples,) at `rate_hz`."""
    generator = np.random.default_rng(plan.seed)
    lead, trail = (np.zeros(round(seconds * rate_hz), np.float32) for seconds in (plan.lead_s, plan.trail_s))
    signal = set_level(np.concatenate([lead, speech, trail]), plan.level_db)
    if plan.noise in SNR_DB:
        signal = add_noise(signal, plan.noise_kind, SNR_DB[plan.noise], rate_hz, generator)
    return narrowband(signal, rate_hz) if plan.codec == "mulaw8k" else signal


class _Shard(NamedTuple):
    plans: Sequence[Utterance]
    folder: Path
    rate_hz: int


def _render(shard: _Shard) -> list[dict[str, Any]]:
    """Speak, degrade and write one shard; runs in a process of its own."""
    import soundfile
    import soxr

    from speech.synthesis import Synthesizer

    synthesizer = Synthesizer()
    rows = []
    for plan in shard.plans:
        spoken = synthesizer.say(
            plan.text,
            voice=f"{ACCENTS[plan.accent]}+{plan.variant}",
            rate_wpm=SPEEDS_WPM[plan.speed],
            pitch=plan.pitch,
            seed=plan.seed,
        )
        first, last = speech_bounds(spoken.samples)
        bare = spoken.samples[first:last]
        ends_s = word_ends(plan.text, spoken.word_starts, first, last, synthesizer.sample_rate_hz)
        resampled = soxr.resample(bare, synthesizer.sample_rate_hz, shard.rate_hz, quality="HQ")
        signal = degrade(plan, resampled, shard.rate_hz)
        path = f"audio/{plan.utterance_id}.wav"
        soundfile.write(shard.folder / path, signal, shard.rate_hz, subtype="PCM_16")
        row = _row(plan, path, sha256_file(shard.folder / path), signal.size / shard.rate_hz, shard.rate_hz)
        rows.append({**row, "word_ends_s": [plan.lead_s + end_s for end_s in ends_s]})
    return rows


def speech_bounds(signal: npt.NDArray[np.float32], threshold: float = 0.005) -> tuple[int, int]:
    """First sample and end of what is louder than the threshold (espeak-ng appends silence); all where nothing is."""
    loud = np.flatnonzero(np.abs(signal) > threshold)
    return (int(loud[0]), int(loud[-1]) + 1) if loud.size else (0, signal.size)


def word_ends(text: str, starts: Sequence[tuple[int, int]], first: int, last: int, rate_hz: int) -> list[float]:
    """End of each word in seconds from sample `first`; words said as one share their time by their letters.

    Args:
        text: words with one space between.
        starts: (offset in the text, sample) of words, as espeak-ng tells them.
        first, last: samples between which speech lies.
        rate_hz: of the samples.
    """
    anchors = {offset: float(np.clip(sample, first, last)) for offset, sample in starts} | {0: float(first)}
    anchors[len(text) + 1] = float(last)
    offsets = sorted(anchors)
    ends = np.cumsum([len(word) + 1 for word in text.split()])
    return [(float(np.interp(end, offsets, [anchors[offset] for offset in offsets])) - first) / rate_hz for end in ends]


def _row(plan: Utterance, path: str, sha256: str, duration_s: float, rate_hz: int) -> dict[str, Any]:
    return {
        "utterance_id": plan.utterance_id,
        "path": path,
        "sha256": sha256,
        "duration_s": duration_s,
        "sample_rate_hz": rate_hz,
        "language": "en",
        "speaker": plan.speaker,
        "split": plan.split,
        "licence": LICENCE,
        "text": plan.text,
        "accent": plan.accent,
        "noise": plan.noise,
        "length": plan.length,
        "speed": plan.speed,
        "codec": plan.codec,
    }


def render(plans: list[Utterance], folder: Path, rate_hz: int, *, label: str = "speaking") -> list[dict[str, Any]]:
    """Make all audio below `folder/audio` and return one row an utterance, in the order of the plans."""
    from speech.progress import progress

    shutil.rmtree(folder, ignore_errors=True)
    (folder / "audio").mkdir(parents=True)
    shards = [_Shard(part, folder, rate_hz) for part in dealt(plans)]
    rows: dict[str, dict[str, Any]] = {}
    with progress(label, len(plans)) as advance:
        for done in in_fresh_processes(_render, shards):
            rows.update((row["utterance_id"], row) for row in done)
            advance(len(done))
    return [rows[plan.utterance_id] for plan in plans]


def write_training(folder: Path, seed: int, per_accent: int, rate_hz: int) -> None:
    """The training utterances: audio/*.wav and manifest.parquet (the columns of a candidate's data manifest first)."""
    import pandas

    rows = render(plan_training(seed, per_accent), folder, rate_hz, label="training speech")
    pandas.DataFrame(rows).drop(columns=["noise", "codec"]).to_parquet(folder / "manifest.parquet", index=False)


def write_pack(folder: Path, card: Path, seed: int, shares: dict[str, int], rate_hz: int) -> None:
    """The eval pack on disk: pack.yaml (from `card`), utterances.parquet, audio/*.wav."""
    import pandas

    rows = render(plan_pack(seed, shares), folder, rate_hz, label="eval pack")
    table = pandas.DataFrame(rows)
    table["speech_end_s"] = [ends_s[-1] for ends_s in table.pop("word_ends_s")]
    table = table.drop(columns=["split", "licence"])
    table.to_parquet(folder / "utterances.parquet", index=False)
    shutil.copyfile(card, folder / "pack.yaml")


def main(arguments: Sequence[str]) -> int:
    """`python -m speech.corpus train|pack`: write one of both below data/, as params.yaml says."""
    import yaml

    settings = yaml.safe_load(Path("params.yaml").read_text())["corpus"]
    for part in arguments or ("train", "pack"):
        if part == "train":
            target = Path("data/corpus/commands")
            write_training(target, settings["seed"], settings["training_per_accent"], settings["sample_rate_hz"])
        else:
            target = Path("data/packs/commands")
            write_pack(target, PACK_CARD, settings["seed"], settings["pack_per_speaker"], settings["sample_rate_hz"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
