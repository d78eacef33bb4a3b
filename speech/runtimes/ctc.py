"""Our streaming CTC recogniser behind the Protocol of runtimes.

Boundary: reads its payload folder when it is loaded (JSON and safetensors) and nothing afterwards.
Invariants: `transcribe` is the stream fed in one piece, so streaming and offline texts are equal; the state of front
end, model and decoder is kept between chunks; front end, tokenizer, decoder and weights agree or the payload is
refused (R2.2); quantized weights are float32 again once they are loaded; log probabilities that are not finite are
never decoded (fault 52).

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
from speech.runtimes import OutputsNotFinite, Partial, Samples, Transcript

if TYPE_CHECKING:
    import torch

    from speech.ctc.decode import DecoderConfig
    from speech.ctc.model import ModelConfig, Recogniser
    from speech.front_end import FrontEndConfig

FILES = (
    "runtime.json",
    "feature_contract.json",
    "front_end.json",
    "tokenizer.json",
    "model.json",
    "decoder.json",
    "weights.safetensors",
)


class CtcRuntime:
    """A loaded recogniser; one thread uses it at a time."""

    streaming = True

    def __init__(
        self, model: Recogniser, front_end: FrontEndConfig, decoder: DecoderConfig, tokens: tuple[str, ...]
    ) -> None:
        from speech.front_end import LogMel

        self.model = model
        self.front_end = LogMel(front_end)
        self.decoder = decoder
        self.tokens = tokens
        self.sample_rate_hz = front_end.sample_rate_hz

    def transcribe(self, audio: Samples) -> Transcript:
        """The transcript of one whole utterance, (samples,) at `sample_rate_hz`."""
        stream = self.stream()
        stream.accept(audio)
        return stream.finish()

    def stream(self) -> CtcStream:
        """Start hearing an utterance."""
        return CtcStream(self)


class CtcStream:
    """One utterance; all state of the recogniser lives here."""

    def __init__(self, runtime: CtcRuntime) -> None:
        from speech.ctc.decode import Decoder

        config = runtime.front_end.config
        self._runtime = runtime
        self._features = runtime.front_end.stream()
        self._state = runtime.model.initial()
        output_s = runtime.model.config.frames_per_output * config.hop_ms / 1000
        self._decoder = Decoder(runtime.decoder, runtime.tokens, output_s)
        self._last = Partial("", 0)

    def accept(self, chunk: Samples) -> Partial | None:
        """Hear the next chunk, (samples,); a Partial when words or their commitment changed."""
        self._hear(np.asarray(chunk, dtype=np.float32))
        partial = self._decoder.partial()
        if partial == self._last:
            return None
        self._last = partial
        return partial

    def finish(self) -> Transcript:
        """Hear the tail of silence and give the final transcript."""
        tail = round(self._runtime.decoder.tail_ms / 1000 * self._runtime.sample_rate_hz)
        self._hear(np.zeros(tail, np.float32))
        return self._decoder.transcript()

    def _hear(self, samples: Samples) -> None:
        import torch

        with torch.inference_mode():
            features = self._features.accept(torch.from_numpy(samples.copy()))
            scores, self._state = self._runtime.model(features.unsqueeze(0), self._state)
            if not bool(torch.isfinite(scores).all()):
                raise OutputsNotFinite
            self._decoder.accept(scores[0])


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
