"""The network of our voice activity detector: two convolutions over log-mel frames, pooled over the clip.

Boundary: no I/O; tensors in, tensors out.
Invariants: frames behind a clip's length change nothing; a clip of any length has one answer.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from contracts.document import Document

KERNEL, STRIDE = 5, 2
SHORTEST_FRAMES = (KERNEL - 1) * STRIDE + KERNEL
"""Frames that one output of the second convolution sees; shorter clips are padded."""


class ClipNetConfig(Document):
    """The file `model.json`: sizes that the weights must agree with, and what the outputs stand for, in order."""

    KIND: ClassVar[str] = "clip_net"

    mels: PositiveInt
    channels: PositiveInt
    classes: Annotated[tuple[str, ...], Field(min_length=2)]


class ClipNet(nn.Module):
    """Log-mel frames of clips to a score a class."""

    def __init__(self, config: ClipNetConfig) -> None:
        super().__init__()
        self.first = nn.Conv1d(config.mels, config.channels, KERNEL, STRIDE)
        self.second = nn.Conv1d(config.channels, config.channels, KERNEL, STRIDE)
        self.output = nn.Linear(2 * config.channels, len(config.classes))

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Scores before the softmax: (batch, frames, mels), (batch,) frames of each clip -> (batch, classes)."""
        heard = self.second(self.first(features.transpose(1, 2)).relu()).relu()
        counts = _outputs_of(_outputs_of(lengths))
        there = (torch.arange(heard.shape[2]) < counts.unsqueeze(1)).unsqueeze(1)
        mean = (heard * there).sum(2) / counts.unsqueeze(1)
        highest = (heard * there).amax(2)  # at least 0 after relu, so a masked frame is never the highest
        scores: Tensor = self.output(torch.cat([mean, highest], dim=1))
        return scores


def _outputs_of(frames: Tensor) -> Tensor:
    return torch.div(frames - KERNEL, STRIDE, rounding_mode="floor") + 1
