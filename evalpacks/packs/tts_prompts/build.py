"""Build the pack tts-prompts: texts of six domains, and recordings of the reference voice that says them right.

Boundary: evalpacks.packs.synthetic writes; planning is pure.
Invariants: a recording has no silence around it, so that its length is that of the speech; abbreviations are written
out for the reference voice by hand, so that it does not depend on anybody's lexicon.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml

from evalpacks.packs.making import Progress, length_slice, read_card
from evalpacks.packs.synthetic import Line, Studio, Utterance, record_pack

VOICE, RATE_WPM, PITCH = "en-us", 175, 50
"""The reference voice."""


class Prompt(NamedTuple):
    """A text to be said, and what the reference voice is given for it where that is more than is written."""

    text: str
    said: str = ""


def build(out: Path, *, studio: Studio, on_progress: Progress | None = None) -> Path:
    """Write the pack into the folder `out`, replacing one that is there, and return it."""
    return record_pack(out, read_card(__file__), plan(), studio, on_progress=on_progress)


def prompts() -> dict[str, list[Prompt]]:
    """The texts of each domain."""
    listed = yaml.safe_load(Path(__file__).with_name("prompts.yaml").read_text(encoding="utf-8"))
    return {domain: [Prompt(**entry) for entry in entries] for domain, entries in listed.items()}


def plan() -> list[Utterance]:
    """Every text once, by the reference voice."""
    return [
        Utterance(
            utterance_id=f"{domain}-{number}",
            speaker="reference-en-us",
            text=prompt.text,
            lines=(Line(prompt.said or prompt.text, VOICE, RATE_WPM, PITCH),),
            columns={"domain": domain, "length": length_slice(prompt.text)},
            seed=0,
            lead_s=0.0,
            trail_s=0.0,
        )
        for domain, listed in prompts().items()
        for number, prompt in enumerate(listed)
    ]
