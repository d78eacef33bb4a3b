"""How a candidate is trained: the typed form of the section `candidates` of params.yaml.

Boundary: no I/O. Unknown keys are refused.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from contracts.document import Document


class Recipe(Document):
    """One candidate.

    Attributes:
        description: one sentence for the model card.
        channels, hidden, layers: sizes of the model (speech.ctc.model.ModelConfig).
        steps, batch: updates, utterances an update.
        learning_rate: peak of the one-cycle schedule of AdamW.
        weight_decay: of AdamW.
        aligned_share: share of the steps over which the alignment loss fades from 1 to 0.
        versions: weight of each noisy version of an utterance (speech.ctc.augment.VERSIONS), by name.
        accent_versions: the same for an accent of its own, by accent; `versions` for those that are not named.
        mask_bands, mask_frames: most mel bands and frames that SpecAugment hides.
        seed: of the initial weights and of the order of the data.
        decoder: settings of the decoder (speech.ctc.decode.DecoderConfig) that differ from the usual ones.
    """

    KIND: ClassVar[str] = "recipe"

    description: str
    channels: PositiveInt
    hidden: PositiveInt
    layers: PositiveInt = 1
    steps: PositiveInt
    batch: PositiveInt = 32
    learning_rate: PositiveFloat = 3e-3
    weight_decay: NonNegativeFloat = 0.01
    aligned_share: NonNegativeFloat = 0.5
    versions: dict[str, NonNegativeFloat]
    accent_versions: dict[str, dict[str, NonNegativeFloat]] = {}
    mask_bands: NonNegativeInt = 6
    mask_frames: NonNegativeInt = 12
    seed: int = 1
    decoder: dict[str, float] = {}
