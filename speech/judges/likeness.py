"""Speaker similarity: the cosine between the speaker vectors of two recordings, 0 (strangers) to 1 (one voice).

Boundary: as speech/judges/__init__.py; the encoder is GE2E (speech/ge2e.py) with the weights of Resemblyzer.
Invariants: a recording in which nobody is heard has no vector.
Source: Wan et al. 2018, "Generalized End-to-End Loss for Speaker Verification".
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from speech.ge2e import Hearing
    from speech.runtimes import Samples


def likeness(samples: Samples, reference: Samples) -> float:
    """How alike the voices of two recordings are, each (samples,) at RATE_HZ.

    NaN where nobody is heard in the reference, so that there is nothing to be like; 0 where somebody is, and nobody in
    the samples.
    """
    wanted = _vector(reference)
    if wanted is None:
        return math.nan
    found = _vector(samples)
    return 0.0 if found is None else float(np.clip(found @ wanted, 0.0, 1.0))


def _vector(samples: Samples) -> npt.NDArray[np.float32] | None:
    from speech.ge2e import SpeakerFrontEnd, voiced_part

    voiced = voiced_part(samples, SpeakerFrontEnd())
    return _encoder().vector(voiced) if voiced.size else None


@cache
def _encoder() -> Hearing:
    import torch

    from speech.ge2e import Hearing, SpeakerEncoder, SpeakerFrontEnd
    from speech.speaker_candidates import pretrained

    torch.set_num_threads(1)
    front_end = SpeakerFrontEnd()
    encoder = SpeakerEncoder(front_end.mels)
    encoder.load_state_dict(pretrained())
    return Hearing(front_end, encoder)
