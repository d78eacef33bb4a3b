"""The acoustic model: streaming equals offline, and weights that are not its own are refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import Refused
from speech.ctc.model import Recogniser, check_weights, parameter_count
from tests.speech.ctc_samples import CONFIG, random_model

MODEL = random_model()
FEATURES = torch.randn((1, 67, 40), generator=torch.Generator().manual_seed(1))


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 67), max_size=10))
def test_scores_do_not_depend_on_how_features_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), FEATURES.shape[1]]
    state = MODEL.initial()
    pieces = []
    with torch.no_grad():
        whole, _ = MODEL(FEATURES, MODEL.initial())
        for start, end in pairwise(edges):
            scores, state = MODEL(FEATURES[:, start:end], state)
            pieces.append(scores)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-4, atol=1e-4)


@given(frames=st.integers(1, 90))
@settings(deadline=None, max_examples=30)
def test_the_number_of_outputs_is_as_told(frames: int) -> None:
    with torch.no_grad():
        scores, _ = MODEL(torch.zeros((2, frames, 40)), MODEL.initial(2))
    assert scores.shape == (2, int(MODEL.outputs_of(torch.tensor(frames))), CONFIG.vocabulary_size)


def test_an_output_does_not_hear_the_future() -> None:
    later = FEATURES.clone()
    later[:, 40:] += 1.0
    with torch.no_grad():
        before, after = (MODEL(features, MODEL.initial())[0] for features in (FEATURES, later))
    assert torch.equal(before[:, :10], after[:, :10])
    assert not torch.allclose(before[:, 10:], after[:, 10:])


def test_parameters_are_counted() -> None:
    assert parameter_count(MODEL) == sum(tensor.numel() for tensor in MODEL.state_dict().values())


def test_its_own_weights_are_accepted() -> None:
    check_weights(MODEL.state_dict(), CONFIG)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("output.bias", torch.full((5,), float("nan")), "output.bias holds NaN or infinity"),
        ("output.bias", torch.full((5,), float("inf")), "output.bias holds NaN or infinity"),
        ("output.bias", torch.zeros(6), "output.bias has shape (6,), model.json means (5,)"),
        ("output.bias", torch.zeros(5, dtype=torch.float64), "output.bias is torch.float64, not torch.float32"),
        ("extra", torch.zeros(1), "extra is not of this model"),
        ("output.bias", None, "output.bias is missing"),
    ],
)
def test_foreign_weights_are_refused_and_named(name: str, value: torch.Tensor | None, message: str) -> None:
    weights = dict(MODEL.state_dict())
    weights.pop(name, None)
    if value is not None:
        weights[name] = value
    with pytest.raises(Refused, match="the weights are not those of this model") as caught:
        check_weights(weights, CONFIG)
    assert caught.value.got == message


def test_all_faults_are_named_at_once() -> None:
    other = Recogniser(CONFIG.model_copy(update={"mels": 20, "vocabulary_size": 9}))
    with pytest.raises(Refused) as caught:
        check_weights(other.state_dict(), CONFIG)
    assert caught.value.got.count("has shape") == 3
