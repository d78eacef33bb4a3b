"""Fixed prompts: texts that a voice says often, kept as audio from the moment its worker is warm (coverage row 22).

Boundary: reads `prompts.json` of a payload, a JSON list of texts; memory alone keeps the audio.
Invariants: a prompt that is kept is what the voice says to it, sample for sample, and what is kept is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from contracts.errors import Corrupt, Refused
from speech.runtimes import Samples
from speech.runtimes.kinds import Voice

FILE = "prompts.json"
MAX_BYTES = 64 << 20
"""Of all prompts: twelve minutes at 22 kHz."""

Prompts = Mapping[str, tuple[Samples, ...]]
"""Text -> its audio, in the chunks that the voice makes of it."""


def prompts_of(payload: Path) -> tuple[str, ...]:
    """The texts that a payload lists; none without the file. Raises Corrupt where it is no list of texts."""
    path = payload / FILE
    if not path.is_file():
        return ()
    try:
        texts = json.loads(path.read_bytes())
    except ValueError as error:
        raise Corrupt("the list of prompts is not JSON", where=FILE, got=str(error)) from None
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise Corrupt("the list of prompts is none", where=FILE, expected="a JSON list of texts that are not empty")
    return tuple(texts)


def spoken(voice: Voice, payload: Path) -> Prompts:
    """Every prompt of a payload, said once; Refused where they are more than may be kept."""
    kept: dict[str, tuple[Samples, ...]] = {}
    room = MAX_BYTES
    for text in prompts_of(payload):
        kept[text] = tuple(voice.speak(text))
        room -= sum(chunk.nbytes for chunk in kept[text])
        if room < 0:
            raise Refused(
                "the prompts are too long to be kept", where=FILE, got=f"over {MAX_BYTES >> 20} MiB of audio",
                expected=f"at most {MAX_BYTES >> 20} MiB", next_step="list fewer prompts, those that are said often",
            )  # fmt: skip
    return kept
