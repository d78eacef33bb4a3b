"""Judges of synthetic speech: models that stand in for listeners, and say the same each time.

Purpose: naturalness (a MOS proxy), background noise, what a recogniser understands, and whether it is the same voice.
Boundary: weights come from installed packages, so that the runtime lock names them; no network, no file is kept.
Invariants: each judge is loaded once a process and uses one thread; it hears 16 kHz; none of them hears while anything
is timed (R3), and none is ever in the payload that it judges.
A proxy is no listener: it ranks what is like its training data. docs/synthesis.md says what each was seen to do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from speech.runtimes import Samples

RATE_HZ = 16_000
"""What every judge hears."""


def spread(samples: Samples, window: int) -> Samples:
    """Windows spread evenly over samples (samples,), as few as cover them, (windows, window); at least one.

    >>> spread(np.arange(5, dtype=np.float32), 3).tolist()
    [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]
    """
    count = math.ceil(samples.size / window)
    starts = np.linspace(0, samples.size - window, count).astype(int)
    return np.stack([samples[start : start + window] for start in starts])
