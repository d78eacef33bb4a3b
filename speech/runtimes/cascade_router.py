"""How sure a cascade's small part may be of what it hears: a logistic regression on its outputs, watched as they come.

Boundary: pure; numbers of outputs in, probabilities out. speech/router.py fits it on held-out training-side speech.
Invariants: only what the recogniser computes anyway is looked at, no text, no audio, no label of a speaker; what a
watch says does not depend on how outputs are cut into chunks; sureness only falls, so that what was handed over stays.
Source: entropies of frame posteriors as predictors of a recogniser's errors, Williams and Renals 1999, "Confidence
measures from local posterior probability estimates"; that a cascade decides by a rule learned beside the model, and
not by its raw confidence, Jitkrittum et al. 2023, "When does confidence-based cascade deferral suffice?".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import FiniteFloat

from contracts.document import Part

Floats = npt.NDArray[np.float64]
Outputs = Floats
"""Of each output of a model its entropy in nats and the probability of the blank, (outputs, 2)."""

SETTLING = 1
"""Outputs, from the one with which the first word begins, that are heard before anything is judged, or shown."""


class Features(NamedTuple):
    """What the router looks at: entropies of the outputs so far (nats), the share of them that were blanks."""

    mean_entropy: float
    greatest_entropy: float
    blank_share: float


class Router(Part):
    """The regression: an intercept, and the weight of each of the Features as it is measured (nothing is rescaled)."""

    intercept: FiniteFloat
    mean_entropy: FiniteFloat
    greatest_entropy: FiniteFloat
    blank_share: FiniteFloat

    def sureness(self, heard: Features) -> float:
        """The probability that every word is right, in (0, 1)."""
        logit = self.intercept + sum(getattr(self, name) * value for name, value in heard._asdict().items())
        return 0.5 * (1.0 + math.tanh(0.5 * logit))


class Watch:
    """The features of one utterance, while its outputs come."""

    def __init__(self) -> None:
        self._count = self._blanks = self._since_word = 0
        self._entropy = self._greatest = 0.0

    def hear(self, entropy: float, blank: float) -> None:
        """Hear the next output."""
        is_blank = blank >= 0.5
        self._count += 1
        self._blanks += is_blank
        self._entropy += entropy
        self._greatest = max(self._greatest, entropy)
        self._since_word += self._since_word > 0 or not is_blank

    @property
    def is_settled(self) -> bool:
        """Whether enough was heard to be judged."""
        return self._since_word > SETTLING

    def features(self) -> Features:
        """Of all that was heard; of nothing they are zero."""
        count = max(1, self._count)
        return Features(self._entropy / count, self._greatest, self._blanks / count)


class Sureness:
    """How sure a router is of one utterance: the least that it was until now, 1 before it `is_judged`."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._watch = Watch()
        self.least = 1.0
        self.is_judged = False

    def hear(self, outputs: Outputs) -> float:
        """Hear the next outputs; the least sureness so far."""
        for entropy, blank in outputs.tolist():
            self._watch.hear(entropy, blank)
            if self._watch.is_settled:
                self._judge()
        return self.least

    def end(self) -> float:
        """The least sureness of the whole utterance, which is judged however short it is."""
        self._judge()
        return self.least

    def _judge(self) -> None:
        self.is_judged = True
        self.least = min(self.least, self._router.sureness(self._watch.features()))
