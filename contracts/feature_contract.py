"""The feature contract: what audio and text look like on their way into a model.

Boundary: no I/O. Source: release-algorithm R2.2 and R6.2.
Invariants: audio at a rate the contract does not name is refused by the API, never resampled silently.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import PositiveFloat, PositiveInt

from contracts.digest import Digest
from contracts.document import Document, later

PROBE_TOLERANCE = 1e-3
"""How far a front-end probe value (natural log of mel energy) may differ between machines."""


class FeatureContract(Document):
    """Front end, tokenizer and text normaliser of a payload; the file `feature_contract.json` of a candidate.

    Attributes:
        sample_rate_hz: rate the model hears.
        accepted_rates_hz: rates the API accepts; those unlike `sample_rate_hz` go through the declared resampler.
        window_ms, hop_ms: analysis window and step; None for an engine with a front end of its own.
        mels: mel bands; None for an engine with a front end of its own.
        vocabulary_size: output symbols, blank included; None where the engine hides it.
        front_end_checksum: digest of the front end's configuration.
        front_end_probe: mean log-mel per band of the fixed probe signal, compared within PROBE_TOLERANCE.
        space, dimension: of an embedding: the vector space, and the components of a vector; a bundle of another space
            needs an index of its own (contracts/migration.py).
    """

    KIND: ClassVar[str] = "feature_contract"

    sample_rate_hz: PositiveInt
    accepted_rates_hz: tuple[PositiveInt, ...]
    channels: PositiveInt = 1
    window_ms: PositiveFloat | None = None
    hop_ms: PositiveFloat | None = None
    mels: PositiveInt | None = None
    normalisation: str
    vad: str = "none"
    resampler: str = "soxr-hq"
    text_normalizer: str
    tokenizer: str
    vocabulary_size: PositiveInt | None = None
    front_end_checksum: Digest
    front_end_probe: tuple[float, ...] = ()
    space: str = later("")
    dimension: PositiveInt | None = later(None)
