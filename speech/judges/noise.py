"""Background noise: the BAK score of DNSMOS, 1 (intrusive) to 5 (none is heard).

Boundary: as speech/judges/__init__.py; the weights are those of the package speechmos.
Invariants: of speech as long as the network's window the score is the package's (tests/speech/test_judges.py). Longer
speech is heard in windows spread evenly over it, as few as cover it; shorter speech is repeated to one window (the
package doubles it and hears up to seven). Its other network (P.808) is left out: it does not tell synthetic from human
speech.
Source: Reddy, Gopal and Cutler 2022, "DNSMOS P.835"; speechmos 0.0.1.1 for the window and the last polynomial.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts.errors import DependencyFailed
from speech.judges import RATE_HZ, spread
from speech.runtimes.onnx import load_session

if TYPE_CHECKING:
    from speech.runtimes import Samples

WINDOW = int(9.01 * RATE_HZ)
"""Samples that the network hears at once: 9.01 s."""
_POLYNOMIAL = (-0.13166888, 1.60915514, -0.39604546)
_BACKGROUND = 1
"""Place of BAK among the network's outputs (SIG, BAK, OVRL)."""


def cleanness(samples: Samples) -> float:
    """The BAK score of speech, (samples,) at RATE_HZ in [-1, 1]."""
    windows = spread(np.resize(samples, max(samples.size, WINDOW)), WINDOW)
    scores = [_session().run(None, {"input_1": window[None]})[0][0][_BACKGROUND] for window in windows]
    return float(np.mean(np.polyval(_POLYNOMIAL, scores)))


@cache
def _session() -> Any:
    package = importlib.util.find_spec("speechmos")
    if package is None or package.origin is None:
        raise DependencyFailed(
            "the package speechmos is not installed", next_step="install the packages of requirements.lock"
        )
    return load_session(Path(package.origin).parent / "dnsmos_models/sig_bak_ovr.onnx")
