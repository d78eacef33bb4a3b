"""The acoustic model: causal convolutions and a GRU over log-mel frames, with a CTC output.

Boundary: no I/O; tensors in, tensors out.
Invariants: output t depends on no frame after its own stride; `forward` over a whole utterance equals `forward` over
its pieces with the state handed on, for every way to cut it, but for rounding.
Source: Graves et al. 2006 (CTC).
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from contracts.document import Document
from contracts.errors import Refused


class ModelConfig(Document):
    """The file `model.json`: sizes that the weights must agree with.

    Attributes:
        mels: input bands.
        channels: width of the two convolutions.
        kernel: frames a convolution sees.
        stride: frames a convolution steps; two of them, so one output stands for stride**2 frames.
        hidden: width of the GRU.
        layers: GRU layers.
        vocabulary_size: output symbols, blank (index 0) included.
    """

    KIND: ClassVar[str] = "ctc_model"

    mels: PositiveInt
    channels: PositiveInt
    kernel: PositiveInt = 5
    stride: PositiveInt = 2
    hidden: PositiveInt
    layers: PositiveInt = 1
    vocabulary_size: PositiveInt

    @property
    def frames_per_output(self) -> int:
        """Feature frames that one output stands for."""
        return self.stride**2


class State(NamedTuple):
    """What is kept between pieces: unread inputs of both convolutions (batch, width, frames), state of the GRU."""

    first: Tensor
    second: Tensor
    hidden: Tensor


class Recogniser(nn.Module):
    """Log-mel frames to log probabilities of symbols."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Conv1d(config.mels, config.channels, config.kernel, config.stride)
        self.second = nn.Conv1d(config.channels, config.channels, config.kernel, config.stride)
        self.norm_first = nn.LayerNorm(config.channels)
        self.norm_second = nn.LayerNorm(config.channels)
        self.memory = nn.GRU(config.channels, config.hidden, config.layers, batch_first=True)
        self.norm_memory = nn.LayerNorm(config.hidden)
        self.output = nn.Linear(config.hidden, config.vocabulary_size)

    def initial(self, batch: int = 1) -> State:
        """The state before the first frame: silence (zeros) where a convolution looks back."""
        config = self.config
        past = config.kernel - config.stride
        return State(
            torch.zeros(batch, config.mels, past),
            torch.zeros(batch, config.channels, past),
            torch.zeros(config.layers, batch, config.hidden),
        )

    def forward(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """Log probabilities and the next state: (batch, frames, mels) -> (batch, outputs, vocabulary)."""
        first, kept_first = self._convolve(self.first, self.norm_first, features.transpose(1, 2), state.first)
        second, kept_second = self._convolve(self.second, self.norm_second, first, state.second)
        if second.shape[2] == 0:
            nothing = features.new_zeros((features.shape[0], 0, self.config.vocabulary_size))
            return nothing, State(kept_first, kept_second, state.hidden)
        heard, hidden = self.memory(second.transpose(1, 2), state.hidden)
        scores = self.output(self.norm_memory(heard))
        return scores.log_softmax(-1), State(kept_first, kept_second, hidden)

    def outputs_of(self, frames: Tensor) -> Tensor:
        """How many outputs so many frames give, elementwise."""
        step = self.config.stride
        return torch.div(torch.div(frames, step, rounding_mode="floor"), step, rounding_mode="floor")

    def _convolve(self, layer: nn.Conv1d, norm: nn.LayerNorm, fresh: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        inputs = torch.cat([past, fresh], dim=2)
        outputs = max(0, (inputs.shape[2] - self.config.kernel) // self.config.stride + 1)
        kept = inputs[:, :, outputs * self.config.stride :]
        if outputs == 0:
            return inputs.new_zeros((inputs.shape[0], layer.out_channels, 0)), kept
        shaped = norm(layer(inputs).transpose(1, 2)).relu()
        return shaped.transpose(1, 2), kept


def parameter_count(model: nn.Module) -> int:
    """Trainable numbers."""
    return sum(parameter.numel() for parameter in model.parameters())


def check_weights(weights: dict[str, Tensor], config: ModelConfig) -> None:
    """Refuse weights that are not the model of `config`: names, shapes, types, NaN and infinity (R2.2).

    Raises:
        Refused: naming every tensor that disagrees.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in Recogniser(config).state_dict().items()}
    faults = [f"{name} is missing" for name in sorted(wanted.keys() - weights.keys())]
    faults += [f"{name} is not of this model" for name in sorted(weights.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & weights.keys()):
        tensor = weights[name]
        if tuple(tensor.shape) != wanted[name]:
            faults.append(f"{name} has shape {tuple(tensor.shape)}, model.json means {wanted[name]}")
        elif tensor.dtype != torch.float32:
            faults.append(f"{name} is {tensor.dtype}, not torch.float32")
        elif not bool(torch.isfinite(tensor).all()):
            faults.append(f"{name} holds NaN or infinity")
    if faults:
        raise Refused(
            "the weights are not those of this model",
            where="weights.safetensors",
            got="; ".join(faults),
            expected="finite float32 tensors of the shapes that model.json gives",
            next_step="export the candidate again from one training run",
        )
