"""Candidates of speaker-embedding: settings, principal components, payloads and plans that belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import DependencyFailed, WrongCall
from contracts.migration import MIGRATION_FILE, MigrationPlan, Space
from speech import speaker_candidates
from speech.ge2e import HIDDEN, MEAN, PROJECTION
from speech.quantize import quantize
from speech.runtimes import load_model
from speech.runtimes.resemblyzer import SpeakerEmbedder
from speech.speaker_candidates import BASE, Derived, Migration, pretrained, principal_components, read_settings
from tests.speech.speaker_samples import buzz, random_weights

ROOT = Path(__file__).parents[2]


def test_the_projects_settings_parse_and_the_two_ways_of_the_story_are_there() -> None:
    found = read_settings(yaml.safe_load((ROOT / "params.yaml").read_text()))
    planned = {version for version, about in found.derived.items() if about.migration}
    unplanned = {version for version, about in found.derived.items() if about.dimension and not about.migration}
    assert (planned, unplanned) == ({"pca-64"}, {"pca-32"})


@pytest.mark.parametrize(
    ("derived", "where"),
    [
        ({"bits": 9, "description": "."}, "derived.x.bits"),
        ({"dimension": 256, "description": "."}, "derived.x.dimension"),
        ({"dimension": 8, "description": ".", "migration": {}}, "derived.x.migration.reindex"),
        ({"dimension": 8}, "derived.x.description"),
    ],
)
def test_a_wrong_setting_is_named(derived: dict[str, Any], where: str) -> None:
    section = {"base": "ge2e", "seed": 1, "fit_utterances": 2, "derived": {"x": derived}}
    with pytest.raises(WrongCall, match="a speaker candidate does not parse") as refusal:
        read_settings({"speakers": section})
    assert refusal.value.where == f"params.yaml, speakers.{where}"


def test_another_licence_than_the_known_one_stops_the_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaker_candidates, "LICENCE_WORD", "MIT")
    with pytest.raises(DependencyFailed, match="the licence of resemblyzer is not the known one"):
        pretrained()


@given(seed=st.integers(0, 999), count=st.integers(1, 4))
@settings(deadline=None, max_examples=25)
def test_law_components_are_orthonormal_and_keep_the_most_variance(seed: int, count: int) -> None:
    drawn = np.random.default_rng(seed).standard_normal((40, 6)) * np.array([9, 5, 3, 2, 1, 0.5]) + 4
    matrix, mean = principal_components(drawn.astype(np.float32), count)
    assert matrix @ matrix.T == pytest.approx(np.eye(count), abs=1e-5)
    assert mean == pytest.approx(drawn.mean(axis=0), abs=1e-4)
    kept = float(((drawn - drawn.mean(axis=0)) @ matrix.T).var(axis=0).sum())
    best = np.sort(np.linalg.eigvalsh(np.cov(drawn.T, bias=True)))[::-1][:count].sum()
    assert kept == pytest.approx(best, rel=1e-4)


def test_the_sign_of_a_component_is_no_matter_of_the_library() -> None:
    drawn = np.random.default_rng(1).standard_normal((40, 6)).astype(np.float32)
    for matrix in (principal_components(drawn, 6)[0], principal_components(-drawn, 6)[0]):
        assert (matrix[np.arange(6), np.abs(matrix).argmax(axis=1)] > 0).all()


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(speaker_candidates, "TARGET", tmp_path)
    return tmp_path


def test_a_projected_candidate_has_its_plan_and_its_space(shelf: Path) -> None:
    migration = Migration.model_validate(
        {
            "reindex": {"batch": 4, "max_recall_loss": 0.1},
            "backfill": {"pack": "speaker-trials"},
            "rollback": {"keep_old_index_days": 3},
        }
    )
    about = Derived(description="Smaller.", dimension=5, migration=migration)
    space = Space(name="ge2e-pca-5", dimension=5)
    folder = speaker_candidates.write("pca-5", random_weights(dimension=5), space, about, {"made_from": "ge2e"})
    plan = MigrationPlan.model_validate(yaml.safe_load((folder / MIGRATION_FILE).read_text()))
    assert (plan.source, plan.target, plan.shim) == (BASE, space, None)
    model = load_model(folder / "payload")
    assert isinstance(model, SpeakerEmbedder)
    assert (model.space, model.dimension) == ("ge2e-pca-5", 5)
    assert "Smaller." in (folder / "MODEL_CARD.md").read_text()
    assert yaml.safe_load((folder / "candidate.yaml").read_text())["provenance"]["made_from"] == "ge2e"


def test_a_quantized_candidate_stays_in_the_space(shelf: Path) -> None:
    weights = random_weights()
    about = Derived(description="Smaller.", bits=8)
    vectors = []
    for version, stored in (("whole", weights), ("int8", quantize(weights, 8))):
        folder = speaker_candidates.write(version, stored, BASE, about, {})
        assert not (folder / MIGRATION_FILE).exists()
        model = load_model(folder / "payload")
        assert isinstance(model, SpeakerEmbedder)
        vectors.append(model.embed(buzz(1.6)))
    assert 0.98 < float(vectors[0] @ vectors[1]) < 1.0


def test_equal_inputs_give_equal_bytes(shelf: Path) -> None:
    about = Derived(description=".", dimension=5)
    weights = random_weights(dimension=5)
    written = []
    for _ in range(2):
        folder = speaker_candidates.write("x", weights, Space(name="x-5", dimension=5), about, {})
        written.append({path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert written[0] == written[1]


def test_the_package_has_the_encoders_tensors_and_no_others() -> None:
    weights = pretrained()
    assert weights["linear.weight"].shape == (HIDDEN, HIDDEN)
    assert not {PROJECTION, MEAN, "similarity_weight"} & weights.keys()
    assert all(isinstance(tensor, torch.Tensor) for tensor in weights.values())
