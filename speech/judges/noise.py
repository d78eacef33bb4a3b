"""Background noise: the BAK score of DNSMOS, 1 (intrusive) to 5 (none is heard).

Boundary: as speech/judges/__init__.py; the weights are those of the package speechmos.
Invariants: the numbers are the package's (tests/speech/test_judges.py); its other network (P.808) is left out, which
does not tell synthetic from human speech, and with it the mel front end of librosa.
Source: Reddy, Gopal and Cutler 2022, "DNSMOS P.835", and speechmos 0.0.1.1 for windows and the last polynomial.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts.errors import DependencyFailed
from speech.judges import RATE_HZ

if TYPE_CHECKING:
    from speech.runtimes import Samples

WINDOW = int(9.01 * RATE_HZ)
"""Samples that the network hears at once; shorter speech is repeated, longer speech is heard once a second."""
_POLYNOMIAL = (-0.13166888, 1.60915514, -0.39604546)
_BACKGROUND = 1
"""Place of BAK among the network's outputs (SIG, BAK, OVRL)."""


def cleanness(samples: Samples) -> float:
    """The BAK score of speech, (samples,) at RATE_HZ in [-1, 1]."""
    while samples.size < WINDOW:
        samples = np.append(samples, samples)
    hops = int(samples.size // RATE_HZ - WINDOW / RATE_HZ) + 1
    starts = [hop * RATE_HZ for hop in range(hops) if hop * RATE_HZ + WINDOW <= samples.size]
    session = _session()
    scores = [
        session.run(None, {"input_1": samples[None, start : start + WINDOW]})[0][0][_BACKGROUND] for start in starts
    ]
    return float(np.mean(np.polyval(_POLYNOMIAL, scores)))


@cache
def _session() -> Any:
    import onnxruntime

    package = importlib.util.find_spec("speechmos")
    if package is None or package.origin is None:
        raise DependencyFailed(
            "the package speechmos is not installed", next_step="install the packages of requirements.lock"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    weights = Path(package.origin).parent / "dnsmos_models/sig_bak_ovr.onnx"
    return onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
