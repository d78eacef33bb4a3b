"""The GE2E speaker encoder (speech/ge2e.py) behind the Protocol of embedders.

Boundary: reads its payload folder when it is loaded (JSON and safetensors) and nothing afterwards.
Invariants: front end, weights and feature contract agree or the payload is refused (R2.2): the contract names the
vector space and its dimension, and the weights yield vectors of that dimension; quantized weights are float32 again
once they are loaded.

Payload: runtime.json {"engine": "resemblyzer"}, feature_contract.json, front_end.json, weights.safetensors: the
encoder's tensors, and where vectors are projected `projection.weight` (dimension, 256) and `projection.mean` (256,).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from contracts.errors import Corrupt, Refused
from contracts.feature_contract import FeatureContract
from speech.runtimes import OutputsNotFinite, Samples
from speech.runtimes.kinds import Vector

if TYPE_CHECKING:
    import torch

    from speech.ge2e import Hearing, SpeakerFrontEnd

FILES = ("runtime.json", "feature_contract.json", "front_end.json", "weights.safetensors")


class SpeakerEmbedder:
    """A loaded encoder; `projection` is (matrix (dimension, 256), mean (256,)), None where vectors stay as they are."""

    task: Literal["embedding"] = "embedding"

    def __init__(
        self,
        hearing: Hearing,
        front_end: SpeakerFrontEnd,
        contract: FeatureContract,
        projection: tuple[Vector, Vector] | None,
    ) -> None:
        assert contract.dimension is not None
        self.sample_rate_hz = front_end.sample_rate_hz
        self.dimension: int = contract.dimension
        self.space = contract.space
        self._front_end = front_end
        self._hearing = hearing
        self._projection = projection

    def embed(self, audio: Samples) -> Vector:
        """The vector of one utterance, (dimension,), of length 1.

        Raises:
            Refused: nobody is heard to speak.
            OutputsNotFinite: the vector is no direction.
        """
        from speech.ge2e import voiced_part

        voiced = voiced_part(audio, self._front_end)
        if not voiced.size:
            raise Refused(
                "nobody is heard to speak",
                where="the recording",
                got=f"{audio.size / self.sample_rate_hz:.2f} s of audio, no voice in it",
                expected="speech of a second or more",
                next_step="send a recording with speech",
            )
        vector = self._hearing.vector(voiced)
        if self._projection is not None:
            matrix, mean = self._projection
            vector = matrix @ (vector - mean)
        length = float(np.linalg.norm(vector))
        if not (np.isfinite(length) and length > 0):
            raise OutputsNotFinite(got=f"a vector of length {length}", expected="a direction in the vector space")
        unit: Vector = (vector / length).astype(np.float32)
        return unit


def load(payload: Path, *, threads: int = 1) -> SpeakerEmbedder:
    """Load and check a payload.

    Raises:
        Refused: parts disagree, weights are not of the encoder, a file is missing.
        Corrupt: a file does not parse.
    """
    import torch

    from speech.ge2e import MEAN, PROJECTION, Hearing, SpeakerEncoder, SpeakerFrontEnd

    missing = [name for name in FILES if not (payload / name).is_file()]
    if missing:
        raise Refused(
            "the payload is not complete", where="payload", got=f"no {', '.join(missing)}",
            expected="all of " + ", ".join(FILES), next_step="build the candidate again",
        )  # fmt: skip
    torch.set_num_threads(threads)
    front_end = SpeakerFrontEnd.parse((payload / "front_end.json").read_bytes(), where="front_end.json")
    contract = FeatureContract.parse((payload / "feature_contract.json").read_bytes(), where="feature_contract.json")
    weights = _weights(payload / "weights.safetensors")
    encoder = SpeakerEncoder(front_end.mels)
    _check_agreement(front_end, contract, weights, encoder)
    projected = PROJECTION in weights
    projection = (weights.pop(PROJECTION).numpy(), weights.pop(MEAN).numpy()) if projected else None
    encoder.load_state_dict(weights)
    return SpeakerEmbedder(Hearing(front_end, encoder), front_end, contract, projection)


def _check_agreement(
    front_end: SpeakerFrontEnd, contract: FeatureContract, weights: dict[str, torch.Tensor], encoder: torch.nn.Module
) -> None:
    """Refuse a payload whose parts do not belong together, naming all that disagrees (R2.2)."""
    from speech.ge2e import HIDDEN, MEAN, PROJECTION

    rows = len(weights[PROJECTION]) if PROJECTION in weights else HIDDEN
    wanted = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    if PROJECTION in weights or MEAN in weights:
        wanted |= {PROJECTION: (rows, HIDDEN), MEAN: (HIDDEN,)}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    names = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
    faults = [f"tensor {name}: {given.get(name, 'absent')}, expected {wanted.get(name, 'none')}" for name in names[:3]]
    pairs = (
        ("dimension of weights and feature contract", rows, contract.dimension),
        ("sample_rate_hz of front end and feature contract", front_end.sample_rate_hz, contract.sample_rate_hz),
        ("checksum of front end and feature contract", front_end.digest(), contract.front_end_checksum),
    )
    faults += [f"{what}: {left} and {right}" for what, left, right in pairs if left != right]
    faults += ["feature_contract.json names no vector space"] * (not contract.space)
    if faults:
        raise Refused(
            "the parts of the payload do not agree", where="payload", got="; ".join(faults),
            expected="front end, weights and feature contract of one build", next_step="build the candidate again",
        )  # fmt: skip


def _weights(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load as load_safetensors

    from speech.quantize import dequantize

    try:
        return dequantize(load_safetensors(path.read_bytes()))
    except SafetensorError as error:
        raise Corrupt(
            "the weights are not safetensors", where=path.name, got=str(error), expected="safetensors"
        ) from None
