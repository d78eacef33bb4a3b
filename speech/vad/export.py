"""A trained detector as a candidate folder: payload, candidate.yaml, data manifest, model card.

Boundary: writes below the folder it is handed; the clock is not read, so equal inputs give equal bytes.
Invariants: the payload loads in `speech.runtimes` (its parts agree by construction); weights are safetensors.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from contracts.feature_contract import FeatureContract
from speech.front_end import FrontEndConfig, checksum, probe

if TYPE_CHECKING:
    import pandas

    from speech.vad.model import ClipNet, ClipNetConfig
    from speech.vad.recipe import Recipe

FAMILY = "vad"
TARGET = Path("candidates") / FAMILY
LICENCE = "Apache-2.0"
MANIFEST_COLUMNS = [
    "utterance_id", "path", "sha256", "duration_s", "sample_rate_hz", "language", "speaker", "split", "licence", "text",
]  # fmt: skip


class Provenance(NamedTuple):
    """Where a training comes from: version, git SHA of the code, seed of the clips."""

    version: str
    training_code_sha: str
    clips_seed: int


def export(
    target: Path,
    model: ClipNet,
    config: ClipNetConfig,
    front_end: FrontEndConfig,
    heard: pandas.DataFrame,
    recipe: Recipe,
    provenance: Provenance,
) -> None:
    """Write a candidate folder; one that is there is replaced. `heard` is the manifest of its training clips."""
    import yaml

    shutil.rmtree(target, ignore_errors=True)
    (target / "payload").mkdir(parents=True)
    write_payload(target / "payload", model, config, front_end)
    heard[MANIFEST_COLUMNS].to_parquet(target / "data_manifest.parquet", index=False)
    value = {
        "family": FAMILY,
        "version": provenance.version,
        "origin": "own",
        "base_model": "none: trained from random weights",
        "licence": LICENCE,
        "languages": ["en"],
        "hyperparameters": recipe.model_dump(mode="json", exclude={"seed", "description"}),
        "seeds": {"clips": provenance.clips_seed, "training": recipe.seed},
        "training_code_sha": provenance.training_code_sha,
        "notes": recipe.description,
    }
    (target / "candidate.yaml").write_text(yaml.safe_dump(value, sort_keys=False))
    (target / "MODEL_CARD.md").write_text(_card(model, heard, recipe, provenance))


def write_payload(payload: Path, model: ClipNet, config: ClipNetConfig, front_end: FrontEndConfig) -> None:
    """Write what runs: weights, sizes and classes, front end, and the contract that ties them."""
    from safetensors.torch import save

    contract = FeatureContract(
        sample_rate_hz=front_end.sample_rate_hz,
        accepted_rates_hz=(front_end.sample_rate_hz,),
        window_ms=front_end.window_ms,
        hop_ms=front_end.hop_ms,
        mels=front_end.mels,
        normalisation=f"{front_end.normalisation}: (log-mel - {front_end.offset:g}) / {front_end.scale:g}",
        text_normalizer="none",
        tokenizer="none: classes of model.json",
        vocabulary_size=len(config.classes),
        front_end_checksum=checksum(front_end),
        front_end_probe=probe(front_end),
    )
    for name, document in {"front_end": front_end, "model": config, "feature_contract": contract}.items():
        (payload / f"{name}.json").write_bytes(document.canonical())
    (payload / "runtime.json").write_text(json.dumps({"engine": "clip_net"}))
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    (payload / "weights.safetensors").write_bytes(save(weights))


def _card(model: ClipNet, heard: pandas.DataFrame, recipe: Recipe, provenance: Provenance) -> str:
    counts = heard["label"].value_counts()
    hours = float(heard["duration_s"].sum()) / 3600
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return f"""# {FAMILY} {provenance.version}

{recipe.description}

## What it is

Says whether somebody speaks in a clip: two convolutions over log-mel frames, pooled over the clip, {parameters:,}
parameters.

## What it heard

{len(heard):,} synthetic clips ({hours:.2f} hours) at the levels {", ".join(recipe.levels)}: {counts.get("speech", 0):,}
with a spoken command, in noise or without, {counts.get("non-speech", 0):,} with sounds alone.

## What it was not trained on

- No human voice, no singing, no clip longer than 2.5 seconds.
- Whispering, and speech weaker than its background.

## Licence and data

{LICENCE}; the training data is synthetic and holds no person's voice. Training code {provenance.training_code_sha},
seed of the clips {provenance.clips_seed}, of the training {recipe.seed}.
"""
