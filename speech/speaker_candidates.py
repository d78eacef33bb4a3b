"""Candidates of speaker-embedding: `python -m speech.speaker_candidates`, as section `speakers` of params.yaml says.

Purpose: the DVC stage `speakers`. The first candidate is the GE2E encoder of the package Resemblyzer, its pickle
converted once (R1.4); the others are made from it: weights of fewer bits, or vectors of fewer components.
Boundary: reads params.yaml, the installed package and data/corpus/commands; writes candidates/speaker-embedding/.
Invariants: equal inputs give equal bytes; the principal components are fitted on speakers of the training corpus, whom
no eval pack knows (R1.2); the encoder's own training data is not ours, so that leakage stays inconclusive (R1.5).
Method: vectors minus their mean, projected onto the first principal components (Hotelling 1933), to length 1 again.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import yaml
from pydantic import Field, JsonValue, PositiveInt, ValidationError

from contracts.document import Document
from contracts.errors import DependencyFailed, Refused, WrongCall
from contracts.feature_contract import FeatureContract
from contracts.migration import MIGRATION_FILE, Backfill, MigrationPlan, Reindex, Rollback, Shim, Space
from speech.ctc.export import MANIFEST_COLUMNS
from speech.quantize import quantize
from speech.run import read_audio
from speech.runtimes.kinds import Vector
from speech.weights import check_payload

if TYPE_CHECKING:
    import pandas
    from torch import Tensor

    from speech.runtimes.resemblyzer import SpeakerEmbedder

FAMILY = "speaker-embedding"
PACKAGE = "resemblyzer"
LICENCE, LICENCE_WORD = "Apache-2.0", "Apache"
CORPUS = Path("data/corpus/commands")
TARGET = Path("candidates") / FAMILY
BASE = Space(name="ge2e-256", dimension=256)
ACCEPTED_RATES_HZ = (8_000, 16_000)


class Migration(Document):
    """What a candidate's migration plan says beside the two spaces (contracts/migration.py)."""

    KIND: ClassVar[str] = "speaker_migration"

    reindex: Reindex
    backfill: Backfill
    shim: Shim | None = None
    rollback: Rollback


class Derived(Document):
    """One candidate made from the encoder: of fewer `bits`, or of fewer components (`dimension`), never both.

    `migration` is written as migration.yaml; without it the candidate has no plan.
    """

    KIND: ClassVar[str] = "derived_speaker_encoder"

    description: str
    bits: Annotated[int, Field(ge=2, le=8)] | None = None
    dimension: Annotated[int, Field(ge=2, lt=BASE.dimension)] | None = None
    migration: Migration | None = None


class Settings(Document):
    """The section `speakers`: name of the first candidate, seed and size of the sample that components are fitted on,
    and the candidates made from it."""

    KIND: ClassVar[str] = "speaker_candidates"

    base: str
    seed: int
    fit_utterances: PositiveInt
    derived: dict[str, Derived]


def read_settings(params: Mapping[str, Any]) -> Settings:
    """The section `speakers` of params.yaml; WrongCall names a wrong key."""
    try:
        return Settings.model_validate(params.get("speakers") or {})
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise WrongCall(
            "a speaker candidate does not parse", where=f"params.yaml, speakers.{path}", got=first["msg"],
            expected="the fields of speech/speaker_candidates.py", next_step="correct params.yaml",
        ) from None  # fmt: skip


def pretrained() -> dict[str, Tensor]:
    """The encoder's tensors, out of the package's pickle as tensors alone; DependencyFailed for another package."""
    import torch

    from speech.ge2e import SpeakerEncoder, SpeakerFrontEnd

    spec = importlib.util.find_spec(PACKAGE)
    again = "install the packages of requirements.lock"
    if spec is None or spec.origin is None:
        raise DependencyFailed(f"the package {PACKAGE} is not installed", next_step=again)
    licences = metadata.metadata(PACKAGE).get_all("Classifier") or []
    if not any(LICENCE_WORD in line for line in licences):
        raise DependencyFailed(
            f"the licence of {PACKAGE} is not the known one", got=", ".join(licences)[:200], expected=LICENCE,
            next_step=again,
        )  # fmt: skip
    stored = torch.load(Path(spec.origin).with_name("pretrained.pt"), map_location="cpu", weights_only=True)
    names = SpeakerEncoder(SpeakerFrontEnd().mels).state_dict()
    return {name: stored["model_state"][name].contiguous() for name in names}


def principal_components(vectors: Vector, count: int) -> tuple[Vector, Vector]:
    """The first components and the mean of vectors (utterances, dimension): (count, dimension), (dimension,).

    The largest entry of each component is positive, so that the sign is no matter of the library.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    components = np.linalg.svd(vectors - mean, full_matrices=False)[2][:count]
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    return (components * signs[:, None]).astype(np.float32), mean.astype(np.float32)


def write_payload(payload: Path, weights: dict[str, Tensor], space: Space) -> None:
    """What runs: weights, front end, and the contract that names the vector space."""
    from safetensors.torch import save

    from contracts.digest import canonical_json
    from speech.ge2e import SpeakerFrontEnd

    front_end = SpeakerFrontEnd()
    contract = FeatureContract(
        sample_rate_hz=front_end.sample_rate_hz,
        accepted_rates_hz=ACCEPTED_RATES_HZ,
        window_ms=front_end.window_ms,
        hop_ms=front_end.hop_ms,
        mels=front_end.mels,
        normalisation=f"speech quieter than {front_end.least_level_db:g} dB is made that loud",
        vad=f"webrtc, mode {front_end.vad_mode}",
        text_normalizer="none",
        tokenizer="none",
        front_end_checksum=front_end.digest(),
        space=space.name,
        dimension=space.dimension,
    )
    payload.mkdir(parents=True)
    (payload / "front_end.json").write_bytes(front_end.canonical())
    (payload / "feature_contract.json").write_bytes(contract.canonical())
    (payload / "runtime.json").write_bytes(canonical_json({"engine": PACKAGE}))
    (payload / "weights.safetensors").write_bytes(save(weights))
    check_payload(payload)


def write(
    version: str,
    weights: dict[str, Tensor],
    space: Space,
    about: Derived,
    provenance: dict[str, JsonValue],
    manifest: pandas.DataFrame | None = None,
) -> Path:
    """A candidate folder; one that is there is replaced. `manifest`: what components were fitted on."""
    target = TARGET / version
    shutil.rmtree(target, ignore_errors=True)
    write_payload(target / "payload", weights, space)
    if manifest is not None:
        manifest[MANIFEST_COLUMNS].to_parquet(target / "data_manifest.parquet", index=False)
    if about.migration is not None:
        parts = {name: getattr(about.migration, name) for name in Migration.model_fields}
        plan = MigrationPlan(source=BASE, target=space, dual_write=True, **parts)
        (target / MIGRATION_FILE).write_text(yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False))
    description = {
        "family": FAMILY,
        "version": version,
        "origin": "third_party",
        "base_model": "GE2E speaker encoder of Resemblyzer (Resemble AI, 2019)",
        "licence": LICENCE,
        "languages": ["en"],
        "training_code_sha": "none: third party",
        "provenance": {"package": PACKAGE, "package_version": metadata.version(PACKAGE), **provenance},
        "notes": about.description,
    }
    (target / "candidate.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
    (target / "MODEL_CARD.md").write_text(_card(version, space, about, manifest))
    return target


def _card(version: str, space: Space, about: Derived, manifest: pandas.DataFrame | None) -> str:
    fitted = "" if manifest is None else (
        f"The projection was fitted on {len(manifest):,} synthetic utterances of {manifest['speaker'].nunique()} "
        "speakers (espeak-ng), none of whom is in an eval pack.\n\n"
    )  # fmt: skip
    return f"""# {FAMILY} {version}

{about.description}

| | |
|---|---|
| model | GE2E speaker encoder, three LSTM layers (Wan et al. 2018), from package Resemblyzer |
| vector space | {space.name}, {space.dimension} components, length 1, compared by their scalar product |
| licence | {LICENCE} |
| hears | 16 kHz mono; 8 kHz is resampled (soxr, high quality) |
| trained on | LibriSpeech and VoxCeleb, as its authors report |

{fitted}**Use**: finding and telling apart speakers who agreed to it, where a wrong answer can be corrected.

**Not for**: proof of identity, decisions about people, speakers who did not agree.

**Known weakness**: utterances of a word or two; synthetic voices of one synthesiser, which are alike.

**Leakage**: unknown. The encoder's training data is not ours, so it cannot be shown that no voice of an eval pack is
in it.
"""


def _fitting_sample(settings: Settings) -> pandas.DataFrame:
    """So many utterances of the training corpus, drawn by the seed."""
    import pandas

    table = pandas.read_parquet(CORPUS / "manifest.parquet")
    return table.sample(min(settings.fit_utterances, len(table)), random_state=settings.seed, ignore_index=True)


def _vectors(model: SpeakerEmbedder, table: pandas.DataFrame) -> Vector:
    """(utterances, dimension) of those in which somebody is heard to speak."""
    from speech.progress import progress

    found: list[Vector] = []
    with progress("speaker vectors", len(table)) as advance:
        for path in table["path"]:
            with suppress(Refused):  # an utterance without voice says nothing about vectors
                found.append(model.embed(read_audio(CORPUS / path, model.sample_rate_hz)))
            advance(1)
    return np.stack(found)


def main() -> int:
    """Make the first candidate, and every one made from it."""
    import torch

    from speech.ge2e import MEAN, PROJECTION
    from speech.runtimes.resemblyzer import load

    settings = read_settings(yaml.safe_load(Path("params.yaml").read_text()))
    weights = pretrained()
    first = Derived(description="As the package has it; its pickle was converted to safetensors once.")
    base = write(settings.base, weights, BASE, first, {"converted": "pretrained.pt, read as tensors alone"})
    sample = _fitting_sample(settings)
    vectors = _vectors(load(base / "payload", threads=2), sample)
    for version, about in settings.derived.items():
        if about.bits is not None:
            made: dict[str, JsonValue] = {"made_from": settings.base, "bits": about.bits}
            write(version, quantize(weights, about.bits), BASE, about, made)
        if about.dimension is not None:
            matrix, mean = principal_components(vectors, about.dimension)
            projected = weights | {PROJECTION: torch.from_numpy(matrix), MEAN: torch.from_numpy(mean)}
            space = Space(name=f"ge2e-pca-{about.dimension}", dimension=about.dimension)
            made = {"made_from": settings.base, "components_fitted_on": str(CORPUS), "seed": settings.seed}
            write(version, projected, space, about, made, sample)
    return 0


if __name__ == "__main__":
    sys.exit(main())
