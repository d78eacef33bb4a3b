"""The story that `make release FAMILY=... [STORY=...]` tells of a family: what is made, released, improved and stopped.

Boundary: runs DVC stages, candidate makers and pack builders as commands; writes candidates/ and data/packs/.
Invariants: what is there is not made again; a pack that cannot be had here is replaced by the one named after it.
"""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

import click

from contracts.errors import DependencyFailed
from operations.settings import Settings


class Story(NamedTuple):
    """A family's candidates, and how they come to be.

    Attributes:
        first, better: the first stable version, and the improvement that is promoted.
        worse: the realistic bad candidate that must be stopped; None: none.
        stages: DVC stages that make candidates or packs.
        makers: version -> module and words that make it with `--out DIR`, for what is copied out of a package.
        packs: eval packs to build; of several names the first that can be had.
        visitors: sessions that its canaries meet at a time, within what one worker can carry.
    """

    first: str
    better: str
    worse: str | None = None
    stages: tuple[str, ...] = ()
    makers: dict[str, tuple[str, ...]] = {}
    packs: tuple[tuple[str, ...], ...] = ()
    visitors: int = 6


STORIES = {
    "asr-commands": Story("v1", "v2", "v3", stages=("corpus", "pack", "train", "quantize")),
    # What v2-routed hands over is heard by v2 in time; v2-cascade asks it at the end, and takes back what was shown.
    "asr-commands/cascade": Story("v2", "v2-routed", "v2-cascade", stages=("corpus", "pack", "train", "cascade")),
    "asr-en": Story(
        "pocketsphinx-5.1.1",
        "moonshine-tiny-0.1.0",
        makers={
            "pocketsphinx-5.1.1": ("speech.third_party", "pocketsphinx"),
            "moonshine-tiny-0.1.0": ("speech.third_party", "moonshine-tiny"),
        },
        packs=(("english-human", "english-synthetic"),),
        visitors=2,  # pocketsphinx takes a fifth of real time, and sessions are played four times as fast
    ),
    "vad": Story(
        "silero-6.2.3",
        "clip-net",
        "clip-net-near",
        stages=("clips", "detectors"),
        makers={"silero-6.2.3": ("speech.third_party", "silero-vad")},
        packs=(("speech-or-not",),),
    ),
    "speaker-embedding": Story(
        "ge2e",
        "pca-64",  # of another vector space, with a migration plan
        "pca-32",  # of another vector space, and nobody planned the migration
        stages=("corpus", "speakers"),
        packs=(("speaker-trials",),),
    ),
    "assistant": Story(
        "v1",
        "v2",
        "v3-rechunked",
        makers={version: ("speech.assistant.make", version) for version in ("v1", "v2", "v3-rechunked", "v3-stale")},
        packs=(("assistant-questions",),),
        visitors=3,
    ),
    "tts-en": Story(
        "v1",
        "v2",
        "studio",  # sounds better, and its first samples come too late for a conversation
        makers={version: ("speech.third_party_voices", version) for version in ("v1", "v2", "v3", "studio")},
        packs=(("tts-prompts",),),
        visitors=3,
    ),
    "tts-en-narration": Story(
        "v2",
        "studio",  # the very payload that tts-en stops
        "loud",
        makers={
            version: ("speech.third_party_voices", version, "--family", "tts-en-narration")
            for version in ("v2", "studio", "loud")
        },
        packs=(("tts-prompts",),),
        visitors=2,
    ),
}
"""Family, or FAMILY/STORY -> the story."""


def prepare(family: str, story: Story, settings: Settings) -> None:
    """Make all that a story of a family needs."""
    if story.stages:
        _python("dvc", "repro", "--quiet", *story.stages)
    for names in story.packs:
        _build(names, settings)
    for version, words in story.makers.items():
        folder = settings.root / "candidates" / family / version
        if not (folder / "candidate.yaml").is_file():
            _python(*words, "--out", str(folder))


def _python(module: str, *words: str) -> None:
    subprocess.run([sys.executable, "-m", module, *words], check=True)


def _build(names: tuple[str, ...], settings: Settings) -> None:
    if any(settings.pack(name).is_dir() for name in names):
        return
    for name in names:
        try:
            return _python("flows.cli", "pack", "build", name)
        except subprocess.CalledProcessError:
            click.echo(f"the pack {name} cannot be had here", err=True)
    raise DependencyFailed(
        "no pack of the family can be built", got=" and ".join(names), next_step="read what the builder said above"
    )
