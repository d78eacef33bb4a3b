"""Train the detectors of ours: `python -m speech.vad.train`, as `vad.detectors` of params.yaml says.

Purpose: the DVC stage `detectors`; a few seconds each on one core.
Boundary: reads params.yaml and data/corpus/clips, writes candidates/vad/VERSION.
Invariants: the same clips and recipe give the same weights on one machine with one thread; a candidate depends on its
own recipe alone.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from speech.front_end import FrontEndConfig, LogMel
from speech.vad.clips import CLASSES, CORPUS
from speech.vad.export import TARGET, Provenance, export
from speech.vad.model import ClipNet, ClipNetConfig
from speech.vad.recipe import Recipe, recipes

if TYPE_CHECKING:
    import pandas


class Examples(NamedTuple):
    """Features of all clips, (clips, frames, mels), zeros behind a clip's end; frames and class of each, (clips,)."""

    features: Tensor
    lengths: Tensor
    classes: Tensor


def examples_of(manifest: pandas.DataFrame, root: Path, front_end: LogMel) -> Examples:
    """Features of the clips of a manifest (columns path and label)."""
    import soundfile

    features = [
        front_end.frames(torch.from_numpy(soundfile.read(root / path, dtype="float32")[0])) for path in manifest["path"]
    ]
    return Examples(
        nn.utils.rnn.pad_sequence(features, batch_first=True),
        torch.tensor([len(frames) for frames in features]),
        torch.tensor([CLASSES.index(label) for label in manifest["label"]]),
    )


def train(examples: Examples, config: ClipNetConfig, recipe: Recipe) -> ClipNet:
    """Train one detector by AdamW on the cross entropy of its classes, clips drawn with replacement."""
    torch.manual_seed(recipe.seed)
    model = ClipNet(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.steps)
    objective = nn.CrossEntropyLoss()
    generator = np.random.default_rng(recipe.seed)
    for _ in range(recipe.steps):
        places = torch.from_numpy(generator.integers(len(examples.classes), size=recipe.batch))
        scores = model(examples.features[places], examples.lengths[places])
        loss = objective(scores, examples.classes[places])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def main() -> int:
    """Train every detector of params.yaml and write its candidate folder."""
    import pandas
    import yaml

    from speech.progress import progress

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    params = yaml.safe_load(Path("params.yaml").read_text())["vad"]
    front_end = FrontEndConfig()
    clips = pandas.read_parquet(CORPUS / "manifest.parquet")
    sha = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    chosen = recipes(params["detectors"])
    with progress("training " + ", ".join(chosen), len(chosen)) as advance:
        for version, recipe in chosen.items():
            heard = clips[clips["level"].isin(recipe.levels)]
            config = ClipNetConfig(mels=front_end.mels, channels=recipe.channels, classes=CLASSES)
            model = train(examples_of(heard, CORPUS, LogMel(front_end)), config, recipe)
            provenance = Provenance(version, sha, int(params["clips"]["seed"]))
            export(TARGET / version, model, config, front_end, heard, recipe, provenance)
            advance(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
