"""The training loop: it can overfit one batch, it is deterministic, recipes decide what is heard."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from contracts.errors import WrongCall
from speech.ctc.augment import mask
from speech.ctc.decode import Decoder, DecoderConfig
from speech.ctc.learn import alignment_loss, collate, train, version_weights
from speech.ctc.train import recipes
from tests.speech.ctc_samples import CONFIG, RECIPE, TOKENS, examples


def test_one_batch_is_learned_by_heart() -> None:
    batch = examples(8)
    recipe = RECIPE.model_copy(
        update={
            "channels": 32,
            "hidden": 48,
            "steps": 100,
            "batch": 8,
            "learning_rate": 0.01,
            "mask_bands": 0,
            "mask_frames": 0,
        }
    )
    config = CONFIG.model_copy(update={"channels": 32, "hidden": 48})
    losses: list[float] = []
    model = train(batch, config, recipe, on_step=lambda _step, loss: losses.append(loss))
    assert losses[-1] < 0.05 < losses[0]
    for example in batch:
        decoder = Decoder(DecoderConfig(), TOKENS, 0.04)
        with torch.no_grad():
            scores, _ = model(example.versions[0].features.float().unsqueeze(0), model.initial())
        decoder.accept(scores[0])
        expected: list[int] = [int(symbol) for symbol in example.symbols]
        assert decoder.transcript().text.split() == [TOKENS[symbol] for symbol in expected]


def test_equal_seeds_give_equal_weights() -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        return train(examples(20), CONFIG, RECIPE.model_copy(update={"seed": seed})).state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_an_accent_is_heard_in_its_own_versions() -> None:
    scottish, other = examples(2)
    recipe = RECIPE.model_copy(update={"accent_versions": {"scottish": {"harsh": 1.0}}})
    assert version_weights(scottish, recipe).tolist() == [0.0, 0.0, 0.0, 1.0, 0.0]
    assert version_weights(other, recipe).tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_masking_hides_and_changes_nothing_else() -> None:
    features = torch.ones((6, 50, 40))
    masked = mask(features, torch.Generator().manual_seed(0), bands=5, frames=7)
    assert set(masked.flatten().tolist()) == {0.0, 1.0}
    assert (masked == 0).float().mean() < 7 / 50 + 5 / 40
    untouched = mask(features, torch.Generator().manual_seed(0), bands=0, frames=0)
    assert torch.equal(untouched, features)


def test_the_alignment_loss_prefers_words_at_their_ends() -> None:
    example = examples(1)[0]
    batch = collate([(example.versions[0], example.symbols)])
    outputs = batch.features.shape[1] // 4
    right = torch.full((1, outputs, len(TOKENS)), -8.0)
    right[:, :, 0] = 0.0
    for symbol, end in zip(batch.symbols.tolist(), batch.ends.tolist(), strict=True):
        right[0, end // 4 - 1 : end // 4 + 2, 0] = -8.0
        right[0, end // 4 - 1 : end // 4 + 2, symbol] = 0.0
    wrong = torch.roll(right, 7, dims=1)
    assert float(alignment_loss(right, batch, 4)) < 0.1 < float(alignment_loss(wrong, batch, 4))


def test_the_recipes_of_params_parse() -> None:
    found = recipes(yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text()))
    assert list(found) == ["v1", "v2", "v3"]
    assert len({recipe.seed for recipe in found.values()}) == 3


def test_a_wrong_key_of_a_recipe_is_named() -> None:
    with pytest.raises(WrongCall, match=r"where: params.yaml, candidates.v9.stepz\n  got: Extra inputs"):
        recipes({"candidates": {"v9": {**RECIPE.model_dump(), "stepz": 3}}})
