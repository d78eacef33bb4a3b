"""Our streaming CTC recogniser behind the Protocol of runtimes.

Boundary: reads its payload folder when it is loaded (JSON and safetensors) and nothing afterwards; how it hears is in
speech/runtimes/ctc_hearing.py.
Invariants: front end, tokenizer, decoder and weights agree or the payload is refused (R2.2); quantized weights are
float32 again once they are loaded.

Payload: runtime.json {"engine": "ctc"}, feature_contract.json, front_end.json, tokenizer.json, model.json,
decoder.json, weights.safetensors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contracts.errors import Corrupt, Refused
from contracts.feature_contract import PROBE_TOLERANCE, FeatureContract

if TYPE_CHECKING:
    import torch

    from speech.ctc.model import ModelConfig
    from speech.front_end import FrontEndConfig
    from speech.runtimes.ctc_hearing import CtcRuntime

FILES = (
    "runtime.json",
    "feature_contract.json",
    "front_end.json",
    "tokenizer.json",
    "model.json",
    "decoder.json",
    "weights.safetensors",
)


def load(payload: Path, *, threads: int = 1) -> CtcRuntime:
    """Load and check a payload.

    Raises:
        Refused: parts disagree, weights are not of the model or not finite, a file is missing.
        Corrupt: a file does not parse.
    """
    import torch

    from speech.ctc.decode import DecoderConfig
    from speech.ctc.model import ModelConfig, Recogniser, check_weights
    from speech.front_end import FrontEndConfig
    from speech.runtimes.ctc_hearing import CtcRuntime

    missing = [name for name in FILES if not (payload / name).is_file()]
    if missing:
        raise Refused(
            "the payload is not complete",
            where="payload",
            got=f"no {', '.join(missing)}",
            expected="all of " + ", ".join(FILES),
        )
    torch.set_num_threads(threads)
    front_end = FrontEndConfig.parse((payload / "front_end.json").read_bytes(), where="front_end.json")
    model_config = ModelConfig.parse((payload / "model.json").read_bytes(), where="model.json")
    decoder = DecoderConfig.parse((payload / "decoder.json").read_bytes(), where="decoder.json")
    contract = FeatureContract.parse((payload / "feature_contract.json").read_bytes(), where="feature_contract.json")
    tokens = _tokens(payload / "tokenizer.json")
    check_agreement(front_end, model_config, contract, tokens)
    weights = _weights(payload / "weights.safetensors")
    check_weights(weights, model_config)
    model = Recogniser(model_config)
    model.load_state_dict(weights)
    return CtcRuntime(model.eval(), front_end, decoder, tokens)


def check_agreement(
    front_end: FrontEndConfig, model: ModelConfig, contract: FeatureContract, tokens: tuple[str, ...]
) -> None:
    """Refuse a payload whose parts do not belong together, naming all that disagrees (R2.2)."""
    from speech.front_end import checksum, probe

    pairs = (
        ("mels of front_end.json and model.json", front_end.mels, model.mels),
        ("mels of front_end.json and feature_contract.json", front_end.mels, contract.mels),
        ("symbols of tokenizer.json and vocabulary_size of model.json", len(tokens), model.vocabulary_size),
        ("symbols of tokenizer.json and of feature_contract.json", len(tokens), contract.vocabulary_size),
        (
            "sample_rate_hz of front_end.json and feature_contract.json",
            front_end.sample_rate_hz,
            contract.sample_rate_hz,
        ),
        ("window_ms of front_end.json and feature_contract.json", front_end.window_ms, contract.window_ms),
        ("hop_ms of front_end.json and feature_contract.json", front_end.hop_ms, contract.hop_ms),
        ("checksum of front_end.json and feature_contract.json", checksum(front_end), contract.front_end_checksum),
    )
    faults = [f"{what}: {left} and {right}" for what, left, right in pairs if left != right]
    measured = probe(front_end)
    if len(measured) != len(contract.front_end_probe):
        faults.append(f"front-end probe: {len(measured)} bands and {len(contract.front_end_probe)}")
    else:
        apart = float(np.max(np.abs(np.subtract(measured, contract.front_end_probe))))
        if not apart <= PROBE_TOLERANCE:
            faults.append(f"front-end probe: {apart:.4g} apart, at most {PROBE_TOLERANCE:g} is allowed")
    if faults:
        raise Refused(
            "the parts of the payload do not agree",
            where="payload",
            got="; ".join(faults),
            expected="front end, tokenizer, model and feature contract of one export",
            next_step="export the candidate again from one training run",
        )


def _tokens(path: Path) -> tuple[str, ...]:
    try:
        tokens = tuple(json.loads(path.read_bytes())["tokens"])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(
            "the tokenizer does not parse", where=path.name, got=str(error), expected='{"tokens": [...]}'
        ) from None
    return tokens


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
