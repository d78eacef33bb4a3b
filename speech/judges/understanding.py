"""Intelligibility by a round trip: what a recogniser hears in synthetic speech.

Boundary: as speech/judges/__init__.py; the recogniser is Moonshine tiny through our own runtime, on the payload that
`python -m speech.third_party moonshine-tiny` would write.
Invariants: the recogniser is another model than what is judged, and the same for every version.
Source: the ASR round trip of the Blizzard and ZeroSpeech evaluations.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speech.runtimes import Runtime, Samples

RECOGNISER = "moonshine-tiny"


def understood(samples: Samples) -> str:
    """What is heard in speech, (samples,) at RATE_HZ; empty where nothing is."""
    return _recogniser().transcribe(samples).text


@cache
def _recogniser() -> Runtime:
    from speech import third_party
    from speech.runtimes import load

    with tempfile.TemporaryDirectory(prefix="soundcheck-judge-") as folder:
        return load(third_party.build(RECOGNISER, Path(folder) / RECOGNISER) / "payload", threads=1)
