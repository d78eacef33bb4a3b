"""Naturalness: the mean opinion score that listeners would give, as DistillMOS predicts it, 1 (bad) to 5 (excellent).

Boundary: as speech/judges/__init__.py; the package is distillmos.
Invariants: speech longer than the network's window is heard in windows spread evenly over it, as few as cover it (the
package takes one a second, for six times the work and the same mean within 0.05); shorter speech is padded by silence.
Source: Stahl and Gamper 2025, "Distillation and Pruning for Scalable Self-Supervised Representation-Based Speech
Quality Assessment".
"""

from __future__ import annotations

import contextlib
import io
import sys
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from speech.judges import spread

if TYPE_CHECKING:
    from speech.runtimes import Samples

WINDOW = 122_880
"""Samples that the network hears at once: 7.68 s at RATE_HZ."""


def naturalness(samples: Samples) -> float:
    """The predicted mean opinion score of speech, (samples,) at RATE_HZ."""
    import torch

    windows = spread(np.pad(samples, (0, max(0, WINDOW - samples.size))), WINDOW)
    with torch.inference_mode():
        return float(_network()(torch.from_numpy(windows.astype(np.float32))).mean())


@cache
def _network() -> Any:
    import torch

    torch.set_num_threads(1)
    with _without_torchaudio(), contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights lie
        from distillmos import ConvTransformerSQAModel

        return ConvTransformerSQAModel().eval()


@contextlib.contextmanager
def _without_torchaudio() -> Any:
    """An empty torchaudio while distillmos is imported: it needs one to read files alone, and there is no CPU build."""
    name = "torchaudio"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]
