"""Small models and payloads for tests of the CTC recogniser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from speech.ctc.augment import VERSIONS, Example, Heard
from speech.ctc.export import write_payload
from speech.ctc.model import ModelConfig, Recogniser
from speech.ctc.recipe import Recipe
from speech.front_end import FrontEndConfig

torch.set_num_threads(1)  # these models are so small that threads would only wait for each other

TOKENS = ("<blank>", "call", "doctor", "light", "the")
RECIPE = Recipe(description="A test.", channels=12, hidden=10, steps=5, versions={"clean": 1.0})
CONFIG = ModelConfig(mels=40, channels=12, hidden=10, vocabulary_size=len(TOKENS))


def random_model(seed: int = 0, config: ModelConfig = CONFIG) -> Recogniser:
    """Random weights, scaled up so that words are heard in noise."""
    torch.manual_seed(seed)
    model = Recogniser(config).eval()
    with torch.no_grad():
        model.output.weight.mul_(12.0)
    return model


def random_payload(folder: Path, seed: int = 0) -> Path:
    """A payload that loads."""
    folder.mkdir(parents=True, exist_ok=True)
    write_payload(folder, random_model(seed), RECIPE, FrontEndConfig(), TOKENS)
    return folder


def overflowing_payload(folder: Path) -> Path:
    """A payload whose weights are finite, and whose outputs are not."""
    payload = random_payload(folder)
    weights = load_file(payload / "weights.safetensors")
    weights["output.weight"] *= torch.finfo(torch.float32).max / weights["output.weight"].abs().max()
    save_file(weights, payload / "weights.safetensors")
    return payload


def shelf_of_two(folder: Path, heard: Callable[[int, str], pd.DataFrame]) -> Path:
    """Candidates `tiny` and `big` of untrained models below `folder`; `heard`: data manifest by seed and name."""
    for seed, name in enumerate(("tiny", "big")):
        random_payload(folder / name / "payload", seed)
        (folder / name / "MODEL_CARD.md").write_text(f"# {name}\n\nAbout {name}.\n")
        described = {"family": "asr-commands", "version": name, "origin": "own", "seeds": {"training": seed}}
        (folder / name / "candidate.yaml").write_text(yaml.safe_dump(described))
        heard(seed, name).to_parquet(folder / name / "data_manifest.parquet", index=False)
    return folder


def babbling(seconds: float, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Noise whose loudness changes, at 16 kHz."""
    generator = np.random.default_rng(seed)
    count = round(seconds * 16000)
    envelope = np.interp(np.arange(count), np.linspace(0, count, 12), generator.uniform(0, 0.5, 12))
    return (envelope * generator.standard_normal(count) * 0.5).astype(np.float32)


def examples(count: int, seed: int = 0) -> list[Example]:
    """Utterances whose words are patterns of bands, so that they can be learned."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn((len(TOKENS), 40), generator=generator)
    made = []
    for index in range(count):
        symbols = torch.randint(1, len(TOKENS), (3,), generator=generator)
        pieces: list[Tensor] = [torch.zeros(8, 40)]
        ends = []
        for symbol in symbols.tolist():
            pieces += [patterns[symbol].repeat(12, 1), torch.zeros(8, 40)]
            ends.append(sum(piece.shape[0] for piece in pieces) - 8)
        features = torch.cat([*pieces, torch.zeros(16, 40)])
        heard = Heard(features.half(), torch.tensor(ends))
        accent = "us" if index % 2 else "scottish"
        made.append(Example(f"u{index}", accent, symbols, tuple(heard for _ in VERSIONS)))
    return made
