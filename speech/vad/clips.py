"""Clips in which somebody speaks, and clips in which nobody does; for training and as the eval pack `speech-or-not`.

Purpose: `python -m speech.vad.clips` writes the training clips; `write_pack` makes the pack.
Boundary: planning and sounds are pure; `render` writes below the folder it is given.
Invariants: everything follows from the seed; no voice variant of the pack is heard in training, and its sounds come
from seeds of their own; a clip without speech is its own source, so that it is one independent unit (U1).
Source: release-algorithm R1.2; statistics U4.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from contracts.digest import sha256_file
from speech.corpus import ACCENTS, LICENCE, TEST_VARIANTS, TRAIN_VARIANTS, Split, command, speech_bounds
from speech.noise import NOISES, FloatArray, Generator, Signal, add_noise, set_level
from speech.shards import dealt, in_fresh_processes
from speech.vad.sounds import SOUNDS

RATE_HZ = 16_000
PACK_CARD = Path("evalpacks/packs/speech_or_not/pack.yaml")
CORPUS = Path("data/corpus/clips")
SPEECH, NON_SPEECH = "speech", "non-speech"
CLASSES = (NON_SPEECH, SPEECH)

SNR_DB = {"20db": 20.0, "10db": 10.0, "0db": 0.0}
LEVELS_DB = {"normal": (-30.0, -18.0), "quiet": (-52.0, -44.0)}
"""RMS to full scale; quiet is somebody across the room, or a microphone that is turned down."""
PACK_PER_VOICE, PACK_PER_SOUND = 4, 60
DURATION_S = (1.0, 2.5)
FLOOR_DB = -75.0
"""The noise floor of a recording: digital silence is not what a microphone gives."""


class Clip(NamedTuple):
    """One clip as it will be made.

    Attributes:
        sound: of SOUNDS where nobody speaks, of NOISES behind speech, `none` behind clean speech.
        snr: of SNR_DB, `clean`, or `none` where nobody speaks.
        level: of LEVELS_DB.
        accent, variant, pitch, text: of the speaker; empty where there is none.
    """

    utterance_id: str
    split: Split
    label: str
    sound: str
    snr: str
    level: str
    duration_s: float
    seed: int
    accent: str = ""
    variant: str = ""
    pitch: int = 0
    text: str = ""

    @property
    def speaker(self) -> str:
        """Voice + variant + pitch, or the clip itself."""
        return f"{self.accent}-{self.variant.lower()}-p{self.pitch}" if self.accent else self.utterance_id


def plan(seed: int, split: Split, per_voice: int, per_sound: int) -> list[Clip]:
    """Clips of a split: so many of each accent and voice variant, and of each sound."""
    variants = TRAIN_VARIANTS if split == "train" else TEST_VARIANTS
    clips = []
    for place, accent in enumerate(ACCENTS):
        generator = np.random.default_rng([seed, 11, split == "test", place])
        for variant in variants:
            pitch = int(generator.integers(25, 75))
            for index in range(per_voice):
                clip = _clip(generator, split, f"{accent}-{variant.lower()}-{index}", SPEECH)
                clip = clip._replace(accent=accent, variant=variant, pitch=pitch, text=command(generator, accent))
                snr = str(generator.choice(["clean", *SNR_DB]))
                sound = "none" if snr == "clean" else str(generator.choice(list(NOISES)))
                clips.append(clip._replace(sound=sound, snr=snr))
    for place, sound in enumerate(SOUNDS):
        generator = np.random.default_rng([seed, 12, split == "test", place])
        for index in range(per_sound):
            clips.append(_clip(generator, split, f"{sound}-{index:03d}", NON_SPEECH)._replace(sound=sound))
    return clips


def _clip(generator: Generator, split: Split, name: str, label: str) -> Clip:
    return Clip(
        utterance_id=f"{split}-{name}",
        split=split,
        label=label,
        sound="none",
        snr="none",
        level=str(generator.choice(list(LEVELS_DB))),
        duration_s=float(generator.uniform(*DURATION_S)),
        seed=int(generator.integers(1 << 31)),
    )


def mixed(clip: Clip, speech: Signal | None) -> Signal:
    """The clip, (samples,) at RATE_HZ, from bare speech or from nothing: its sound, its level, the floor."""
    generator = np.random.default_rng(clip.seed)
    count = round(clip.duration_s * RATE_HZ)
    level_db = float(generator.uniform(*LEVELS_DB[clip.level]))
    if speech is None:
        signal = set_level(SOUNDS[clip.sound](count, RATE_HZ, generator), level_db)
    else:
        lead = round(float(generator.uniform(0.05, 0.3)) * RATE_HZ)
        signal = np.zeros(count, np.float32)
        said = speech[: count - lead]
        signal[lead : lead + said.size] = set_level(said, -20.0)
        if clip.snr in SNR_DB:
            signal = add_noise(signal, clip.sound, SNR_DB[clip.snr], RATE_HZ, generator)
        signal = set_level(signal, level_db)
    return _with_floor(signal, generator)


def _with_floor(signal: FloatArray, generator: Generator) -> Signal:
    floor = set_level(NOISES["white"](signal.size, RATE_HZ, generator), FLOOR_DB)
    heard: Signal = (signal + floor).astype(np.float32)
    return heard


class _Shard(NamedTuple):
    clips: Sequence[Clip]
    folder: Path


def _render(shard: _Shard) -> list[dict[str, Any]]:
    """Speak, mix and write one shard; runs in a process of its own."""
    import soundfile
    import soxr

    from speech.synthesis import Synthesizer

    synthesizer = Synthesizer()
    rows = []
    for clip in shard.clips:
        speech = None
        if clip.label == SPEECH:
            voice = f"{ACCENTS[clip.accent]}+{clip.variant}"
            said = synthesizer.say(clip.text, voice=voice, pitch=clip.pitch, seed=clip.seed).samples
            first, last = speech_bounds(said)
            speech = soxr.resample(said[first:last], synthesizer.sample_rate_hz, RATE_HZ, quality="HQ")
        path = f"audio/{clip.utterance_id}.wav"
        signal = mixed(clip, speech)
        soundfile.write(shard.folder / path, signal, RATE_HZ, subtype="PCM_16")
        rows.append(_row(clip, path, sha256_file(shard.folder / path), signal.size / RATE_HZ))
    return rows


def _row(clip: Clip, path: str, sha256: str, duration_s: float) -> dict[str, Any]:
    return {
        "utterance_id": clip.utterance_id,
        "path": path,
        "sha256": sha256,
        "duration_s": duration_s,
        "sample_rate_hz": RATE_HZ,
        "language": "en",
        "speaker": clip.speaker,
        "split": clip.split,
        "licence": LICENCE,
        "text": clip.label,
        "label": clip.label,
        "noise": clip.sound,
        "snr": clip.snr,
        "level": clip.level,
        "accent": clip.accent or "none",
    }


def render(clips: Sequence[Clip], folder: Path, on_progress: Callable[[int, int], None]) -> list[dict[str, Any]]:
    """Make all audio below `folder/audio` and return one row a clip, in the order of the plan."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "audio").mkdir(parents=True)
    rows: dict[str, dict[str, Any]] = {}
    for done in in_fresh_processes(_render, [_Shard(part, folder) for part in dealt(clips)]):
        rows.update((row["utterance_id"], row) for row in done)
        on_progress(len(rows), len(clips))
    return [rows[clip.utterance_id] for clip in clips]


def write_pack(folder: Path, card: Path, seed: int, on_progress: Callable[[int, int], None]) -> None:
    """The eval pack on disk: pack.yaml (from `card`), utterances.parquet, audio/*.wav."""
    import pandas

    rows = render(plan(seed, "test", PACK_PER_VOICE, PACK_PER_SOUND), folder, on_progress)
    table = pandas.DataFrame(rows).drop(columns=["split", "licence"])
    table.to_parquet(folder / "utterances.parquet", index=False)
    shutil.copyfile(card, folder / "pack.yaml")


def main() -> int:
    """Write the training clips below data/, as params.yaml says."""
    import pandas
    import yaml

    from speech.progress import progress

    settings = yaml.safe_load(Path("params.yaml").read_text())["vad"]["clips"]
    clips = plan(settings["seed"], "train", settings["per_voice"], settings["per_sound"])
    with progress("training clips", len(clips)) as advance:
        told = 0

        def on_progress(done: int, _total: int) -> None:
            nonlocal told
            advance(done - told)
            told = done

        rows = render(clips, CORPUS, on_progress)
    pandas.DataFrame(rows).to_parquet(CORPUS / "manifest.parquet", index=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
