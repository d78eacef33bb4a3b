"""Our detector of speech in clips (speech.runtimes.kinds.Classifier).

Boundary: reads its payload folder when it is loaded (JSON and safetensors) and nothing afterwards.
Invariants: front end, classes and weights agree or the payload is refused (R2.2); scores that are not finite are never
given (fault 52).

Payload: runtime.json {"engine": "clip_net"}, feature_contract.json, front_end.json, model.json, weights.safetensors.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from contracts.errors import Corrupt, Refused
from contracts.feature_contract import FeatureContract
from speech.front_end import FrontEndConfig, LogMel, checksum
from speech.runtimes import OutputsNotFinite, Samples
from speech.runtimes.kinds import Classified
from speech.vad.model import SHORTEST_FRAMES, ClipNet, ClipNetConfig

if TYPE_CHECKING:
    from torch import Tensor

FILES = ("feature_contract.json", "front_end.json", "model.json", "weights.safetensors")


def load(payload: Path, *, threads: int = 1) -> ClipNetRuntime:
    """Load and check a payload.

    Raises:
        Refused: a file is missing, parts disagree, weights are not of the model.
        Corrupt: a file does not parse.
    """
    missing = [name for name in FILES if not (payload / name).is_file()]
    if missing:
        raise _refused(f"no {', '.join(missing)}")
    torch.set_num_threads(threads)
    front_end = FrontEndConfig.parse((payload / "front_end.json").read_bytes(), where="front_end.json")
    config = ClipNetConfig.parse((payload / "model.json").read_bytes(), where="model.json")
    contract = FeatureContract.parse((payload / "feature_contract.json").read_bytes(), where="feature_contract.json")
    faults = [
        f"{what}: {left} and {right}"
        for what, left, right in (
            ("mels of front_end.json and model.json", front_end.mels, config.mels),
            ("classes of model.json and feature_contract.json", len(config.classes), contract.vocabulary_size),
            ("checksum of front_end.json and feature_contract.json", checksum(front_end), contract.front_end_checksum),
        )
        if left != right
    ]
    if faults:
        raise _refused("; ".join(faults))
    model = ClipNet(config)
    try:
        model.load_state_dict(_weights(payload / "weights.safetensors"))
    except RuntimeError as error:
        raise _refused(str(error).split("\n")[1].strip()) from None
    return ClipNetRuntime(model.eval(), front_end, config.classes)


def _weights(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load as load_safetensors

    try:
        weights: dict[str, Tensor] = load_safetensors(path.read_bytes())
    except SafetensorError as error:
        raise Corrupt(
            "the weights are not safetensors", where=path.name, got=str(error), expected="safetensors"
        ) from None
    return weights


def _refused(got: str) -> Refused:
    return Refused(
        "the parts of the payload do not agree",
        where="payload",
        got=got,
        expected="front end, classes and weights of one export",
        next_step="export the candidate again from one training run",
    )


class ClipNetRuntime:
    """A loaded detector; one thread uses it at a time."""

    task: Literal["classification"] = "classification"

    def __init__(self, model: ClipNet, front_end: FrontEndConfig, classes: tuple[str, ...]) -> None:
        self._model = model
        self._front_end = LogMel(front_end)
        self.sample_rate_hz = front_end.sample_rate_hz
        self.classes = classes
        self._shortest = front_end.window_samples + (SHORTEST_FRAMES - 1) * front_end.hop_samples

    def classify(self, audio: Samples) -> Classified:
        """The class of one clip, (samples,); a clip too short for one output is padded with silence."""
        samples = np.pad(audio, (0, max(0, self._shortest - audio.size))).astype(np.float32)
        with torch.inference_mode():
            frames = self._front_end.frames(torch.from_numpy(samples))
            scores = self._model(frames.unsqueeze(0), torch.tensor([len(frames)]))[0].double().softmax(0)
        if not bool(torch.isfinite(scores).all()):
            raise OutputsNotFinite(got="NaN or infinity among its scores", expected="finite scores for every clip")
        return Classified(self.classes[int(scores.argmax())], tuple(scores.tolist()))
