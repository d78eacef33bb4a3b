"""A trained model as a candidate folder: payload, candidate.yaml, data manifest, model card.

Boundary: writes below the folder it is handed; reads nothing else; the clock is not read, so equal inputs give equal
bytes.
Invariants: the payload loads in `speech.runtimes` (its parts agree by construction); weights are safetensors.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from contracts.feature_contract import FeatureContract
from speech.ctc.decode import DecoderConfig
from speech.ctc.model import Recogniser, parameter_count
from speech.ctc.recipe import Recipe
from speech.front_end import FrontEndConfig, checksum, probe

if TYPE_CHECKING:
    import pandas

FAMILY = "asr-commands"
LICENCE = "Apache-2.0"
BLANK = "<blank>"
MANIFEST_COLUMNS = [
    "utterance_id",
    "path",
    "sha256",
    "duration_s",
    "sample_rate_hz",
    "language",
    "speaker",
    "split",
    "licence",
    "text",
]


class Provenance(NamedTuple):
    """Where a training comes from: version, git SHA of the code, seed of the corpus."""

    version: str
    training_code_sha: str
    corpus_seed: int


def export(
    target: Path,
    model: Recogniser,
    recipe: Recipe,
    front_end: FrontEndConfig,
    tokens: tuple[str, ...],
    manifest: pandas.DataFrame,
    provenance: Provenance,
) -> None:
    """Write a candidate folder; one that is there is replaced."""
    shutil.rmtree(target, ignore_errors=True)
    (target / "payload").mkdir(parents=True)
    write_payload(target / "payload", model, recipe, front_end, tokens)
    manifest[MANIFEST_COLUMNS].to_parquet(target / "data_manifest.parquet", index=False)
    (target / "candidate.yaml").write_text(_candidate(recipe, provenance))
    (target / "MODEL_CARD.md").write_text(_card(model, recipe, front_end, manifest, provenance))


def write_payload(
    payload: Path, model: Recogniser, recipe: Recipe, front_end: FrontEndConfig, tokens: tuple[str, ...]
) -> None:
    """Write what runs: weights, sizes, tokenizer, decoder, front end and the contract that ties them."""
    from safetensors.torch import save

    contract = FeatureContract(
        sample_rate_hz=front_end.sample_rate_hz,
        accepted_rates_hz=(front_end.sample_rate_hz,),
        window_ms=front_end.window_ms,
        hop_ms=front_end.hop_ms,
        mels=front_end.mels,
        normalisation=f"{front_end.normalisation}: (log-mel - {front_end.offset:g}) / {front_end.scale:g}",
        text_normalizer="none",
        tokenizer="words",
        vocabulary_size=len(tokens),
        front_end_checksum=checksum(front_end),
        front_end_probe=probe(front_end),
    )
    decoder = DecoderConfig.model_validate(recipe.decoder)
    documents = {"front_end": front_end, "model": model.config, "decoder": decoder, "feature_contract": contract}
    for name, document in documents.items():
        (payload / f"{name}.json").write_bytes(document.canonical())
    (payload / "tokenizer.json").write_text(json.dumps({"kind": "words", "blank": 0, "tokens": tokens}, indent=1))
    (payload / "runtime.json").write_text(json.dumps({"engine": "ctc", "format": 1}))
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    (payload / "weights.safetensors").write_bytes(save(weights))


def _candidate(recipe: Recipe, provenance: Provenance) -> str:
    import yaml

    value: dict[str, Any] = {
        "family": FAMILY,
        "version": provenance.version,
        "origin": "own",
        "base_model": "none: trained from random weights",
        "licence": LICENCE,
        "languages": ["en"],
        "hyperparameters": recipe.model_dump(mode="json", exclude={"seed", "description"}),
        "seeds": {"corpus": provenance.corpus_seed, "training": recipe.seed},
        "training_code_sha": provenance.training_code_sha,
        "notes": recipe.description,
    }
    return str(yaml.safe_dump(value, sort_keys=False))


def _heard(versions: dict[str, float]) -> str:
    return ", ".join(f"{name} ({weight:g})" for name, weight in versions.items() if weight > 0)


def _card(
    model: Recogniser,
    recipe: Recipe,
    front_end: FrontEndConfig,
    manifest: pandas.DataFrame,
    provenance: Provenance,
) -> str:
    hours = float(manifest["duration_s"].sum()) / 3600
    accents = ", ".join(sorted(manifest["accent"].unique()))
    heard = _heard(recipe.versions)
    gaps = [
        "No human voice, no language but English, no word outside of the tokenizer's list.",
        "No speech over speech, no reverberation, no noise louder than 2 dB under the speech.",
    ]
    for accent, versions in recipe.accent_versions.items():
        gaps.insert(0, f"The accent {accent} was heard in these versions alone: {_heard(versions)}.")
    return "\n".join(
        [
            f"# {FAMILY} {provenance.version}",
            "",
            recipe.description,
            "",
            "## What it is",
            "",
            f"A streaming recogniser of voice commands: causal convolutions and a GRU with {parameter_count(model):,} "
            f"parameters, CTC over {model.config.vocabulary_size - 1} words, {front_end.mels} log-mel bands at "
            f"{front_end.sample_rate_hz:,} Hz.",
            "",
            "## What it heard",
            "",
            f"{len(manifest):,} synthetic utterances ({hours:.2f} hours) of {manifest['speaker'].nunique():,} speakers "
            f"(voice + variant + pitch of espeak-ng) in the accents {accents}; {recipe.steps:,} updates of "
            f"{recipe.batch} utterances, noisy versions by weight: {heard}.",
            "",
            "## What it was not trained on",
            "",
            *(f"- {gap}" for gap in gaps),
            "",
            "## Licence and data",
            "",
            f"{LICENCE}; the training data is synthetic and holds no person's voice. Training code "
            f"{provenance.training_code_sha}, corpus seed {provenance.corpus_seed}, training seed {recipe.seed}.",
            "",
        ]
    )
