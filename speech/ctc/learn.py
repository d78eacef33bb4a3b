"""The training loop: AdamW on the CTC loss, deterministic for one thread and one seed.

CTC over whole words stays for long at answering nothing. The synthesiser knows when each word ends, so a frame-wise
loss on those times stands beside CTC at first and fades out; the last part of training is CTC alone.

Boundary: no I/O; examples in, a model out; progress is told to a callback.
Invariants: the same examples, recipe and number of threads give the same weights on one machine; batches hold
utterances of like length, drawn without replacement in every pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from speech.ctc.augment import VERSIONS, Example, Heard, mask
from speech.ctc.model import ModelConfig, Recogniser
from speech.ctc.recipe import Recipe

POOL = 12
"""Batches that are drawn together and sorted by length."""

ALIGNMENT_WEIGHT = 1.0
BLANK_SHARE = 0.5

Progress = Callable[[int, float], None]


def train(
    examples: Sequence[Example], config: ModelConfig, recipe: Recipe, *, on_step: Progress | None = None
) -> Recogniser:
    """Train one model; `on_step(step, loss)` is called after each update. Sets no global but torch's seed."""
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    model = Recogniser(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.15, anneal_strategy="cos"
    )
    objective = nn.CTCLoss(blank=0, reduction="sum", zero_infinity=True)
    batches = _batches(examples, recipe, generator)
    for step in range(recipe.steps):
        batch = next(batches)
        masked = mask(batch.features, generator, bands=recipe.mask_bands, frames=recipe.mask_frames)
        scores, _ = model(masked, model.initial(masked.shape[0]))
        outputs = model.outputs_of(batch.frames)
        loss = objective(scores.transpose(0, 1), batch.symbols, outputs, batch.counts) / batch.counts.sum()
        guided = 1 - step / max(1.0, recipe.aligned_share * recipe.steps)
        if guided > 0:
            loss = loss + ALIGNMENT_WEIGHT * guided * alignment_loss(scores, batch, config.frames_per_output)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step + 1, float(loss.detach()))
    return model.eval()


class Batch(NamedTuple):
    """Features (batch, frames, mels), frames (batch,), symbols and ends (sum of counts,), counts (batch,)."""

    features: Tensor
    frames: Tensor
    symbols: Tensor
    ends: Tensor
    counts: Tensor


def alignment_loss(scores: Tensor, batch: Batch, frames_per_output: int) -> Tensor:
    """Mean over words of -log p(word) at the outputs around its end, and -log p(blank) elsewhere at a low weight."""
    rows = torch.repeat_interleave(torch.arange(scores.shape[0]), batch.counts)
    last = scores.shape[1] - 1
    place = torch.div(batch.ends, frames_per_output, rounding_mode="floor")
    near = [(place + offset).clamp(0, last) for offset in (-1, 0, 1)]
    words = -torch.stack([scores[rows, outputs, batch.symbols] for outputs in near]).mean()
    quiet = torch.ones(scores.shape[:2])
    for outputs in near:
        quiet[rows, outputs] = 0.0
    return words - BLANK_SHARE * (scores[:, :, 0] * quiet).sum() / quiet.sum()


def _batches(examples: Sequence[Example], recipe: Recipe, generator: torch.Generator) -> Iterator[Batch]:
    """Endless batches; each pass over the examples chooses a version of each anew."""
    weights = torch.stack([version_weights(example, recipe) for example in examples])
    while True:
        order = torch.randperm(len(examples), generator=generator)
        chosen = torch.multinomial(weights, 1, generator=generator)[:, 0].tolist()
        size = recipe.batch * POOL
        for start in range(0, len(examples), size):
            drawn = order[start : start + size].tolist()
            pool = [(examples[index].versions[chosen[index]], examples[index].symbols) for index in drawn]
            pool.sort(key=lambda pair: pair[0].features.shape[0])
            groups = [pool[first : first + recipe.batch] for first in range(0, len(pool), recipe.batch)]
            for group in torch.randperm(len(groups), generator=generator).tolist():
                yield collate(groups[group])


def version_weights(example: Example, recipe: Recipe) -> Tensor:
    """How likely each version of an utterance is, (versions,)."""
    named = recipe.accent_versions.get(example.accent, recipe.versions)
    return torch.tensor([named.get(version.name, 0.0) for version in VERSIONS])


def collate(group: Sequence[tuple[Heard, Tensor]]) -> Batch:
    """Versions and symbols of several utterances as one batch, padded with zeros."""
    return Batch(
        features=nn.utils.rnn.pad_sequence([heard.features.float() for heard, _ in group], batch_first=True),
        frames=torch.tensor([heard.features.shape[0] for heard, _ in group]),
        symbols=torch.cat([symbols for _, symbols in group]),
        ends=torch.cat([heard.ends for heard, _ in group]),
        counts=torch.tensor([symbols.shape[0] for _, symbols in group]),
    )
