"""Quantized candidates: rounding within half a step, equal bytes each time, scales that do not fit are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from contracts.errors import Corrupt, Refused, WrongCall
from speech.quantize import SCALE, Quantized, dequantize, plans, quantize, write_candidate
from speech.runtimes import load
from tests.speech.ctc_samples import babbling, random_model, random_payload


def plan(bits: int = 8) -> Quantized:
    return Quantized(parent="v2", bits=bits, description="Smaller.")


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    folder = tmp_path / "v2"
    random_payload(folder / "payload")
    (folder / "candidate.yaml").write_text("family: asr-commands\nversion: v2\nbase_model: none\n")
    (folder / "MODEL_CARD.md").write_text("# asr-commands v2\n\nThe parent.\n")
    return folder


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_every_weight_is_within_half_a_step_of_its_own(bits: int) -> None:
    weights = dict(random_model().state_dict())
    quantized = quantize(weights, bits)
    for name, restored in dequantize(quantized).items():
        if weights[name].ndim < 2:
            assert torch.equal(restored, weights[name])
            continue
        step = quantized[name + SCALE].reshape(-1, *[1] * (restored.ndim - 1))
        assert int(quantized[name].abs().max()) == 2 ** (bits - 1) - 1
        assert bool(((restored - weights[name]).abs() <= step * 0.5001).all())


def test_quantizing_again_changes_nothing() -> None:
    once = quantize(dict(random_model().state_dict()), 4)
    again = quantize(dequantize(once), 4)
    assert all(torch.equal(once[name], again[name]) for name in once if not name.endswith(SCALE))


def test_a_row_of_zeros_stays_zero() -> None:
    restored = dequantize(quantize({"w": torch.zeros(3, 4)}, 8))
    assert torch.equal(restored["w"], torch.zeros(3, 4))


def test_a_quantized_candidate_is_its_parent_but_for_the_weights(parent: Path, tmp_path: Path) -> None:
    target = tmp_path / "v2-int8"
    write_candidate(parent, target, "v2-int8", plan())
    first = (target / "payload" / "weights.safetensors").read_bytes()
    write_candidate(parent, target, "v2-int8", plan())
    assert (target / "payload" / "weights.safetensors").read_bytes() == first
    for path in sorted((parent / "payload").glob("*.json")):
        assert (target / "payload" / path.name).read_bytes() == path.read_bytes()
    value = yaml.safe_load((target / "candidate.yaml").read_text())
    assert (value["version"], value["base_model"]) == ("v2-int8", "asr-commands v2")
    assert value["provenance"]["quantized_from"] == "v2"
    assert (target / "MODEL_CARD.md").read_text().startswith("# asr-commands v2-int8\n\nSmaller.\n")


def test_eight_bits_hear_what_the_parent_hears_and_two_do_not(parent: Path, tmp_path: Path) -> None:
    audio = [babbling(2.0, seed) for seed in range(6)]

    def heard(folder: Path) -> list[str]:
        runtime = load(folder / "payload")
        return [runtime.transcribe(samples).text for samples in audio]

    for bits in (8, 2):
        write_candidate(parent, tmp_path / f"int{bits}", f"v2-int{bits}", plan(bits))
    same = [left == right for left, right in zip(heard(parent), heard(tmp_path / "int8"), strict=True)]
    assert sum(same) >= 4
    assert heard(tmp_path / "int2") != heard(parent)


def break_shape(weights: dict[str, Any]) -> None:
    weights["output.weight" + SCALE] = weights["output.weight" + SCALE][:-1].clone()


def break_type(weights: dict[str, Any]) -> None:
    weights["output.weight"] = weights["output.weight"].float()


def test_scales_of_another_shape_are_corrupt(parent: Path, tmp_path: Path) -> None:
    for break_weights in (break_shape, break_type):
        write_candidate(parent, tmp_path / "broken", "broken", plan())
        path = tmp_path / "broken" / "payload" / "weights.safetensors"
        weights = load_file(path)
        break_weights(weights)
        save_file(weights, path)
        with pytest.raises(Corrupt, match="quantized weights and their scales do not fit"):
            load(tmp_path / "broken" / "payload")


def test_a_scale_without_its_weights_is_no_weight_of_this_model(parent: Path, tmp_path: Path) -> None:
    write_candidate(parent, tmp_path / "orphan", "orphan", plan())
    path = tmp_path / "orphan" / "payload" / "weights.safetensors"
    save_file(load_file(path) | {"other.scale": torch.ones(2)}, path)
    with pytest.raises(Refused) as refused:
        load(tmp_path / "orphan" / "payload")
    assert "other.scale is not of this model" in str(refused.value.diagnostics())


def test_a_wrong_plan_names_its_place() -> None:
    with pytest.raises(WrongCall) as wrong:
        plans({"quantized": {"v2-int9": {"parent": "v2", "bits": 9, "description": "Too fine."}}})
    assert wrong.value.where == "params.yaml, quantized.v2-int9.bits"
