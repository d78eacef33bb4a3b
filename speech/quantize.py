"""Quantized candidates: `python -m speech.quantize`, as the section `quantized` of params.yaml says.

Purpose: the DVC stage `quantize`; a cheaper payload made from a trained one, to be judged slice by slice against it.
Boundary: reads params.yaml and candidates/asr-commands/PARENT, writes candidates/asr-commands/VERSION.
Invariants: a quantized payload differs from its parent's in weights.safetensors alone; equal inputs give equal bytes.
Method: symmetric, weights only, one scale an output row: w ~ q * scale, q an integer of `bits` bits stored as int8. The
arithmetic stays float32, so a payload gets smaller, not faster. Biases and norms stay as they are.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, ValidationError

from contracts.document import Document
from contracts.errors import Corrupt, WrongCall

if TYPE_CHECKING:
    from torch import Tensor

SCALE = ".scale"
"""Suffix of the tensor that holds the scales of the rows of the tensor before it, float32, shape (rows,)."""


class Quantized(Document):
    """One quantized candidate: the version it is made from, bits of a weight (sign included), a sentence about it."""

    KIND: ClassVar[str] = "quantized"

    parent: str
    bits: Annotated[int, Field(ge=2, le=8)]
    description: str


def quantize(weights: dict[str, Tensor], bits: int) -> dict[str, Tensor]:
    """Matrices and kernels as int8 with a scale a row, everything else unchanged."""
    import torch

    most = 2 ** (bits - 1) - 1
    result: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if tensor.ndim < 2:
            result[name] = tensor
            continue
        rows = tensor.reshape(len(tensor), -1)
        scale = (rows.abs().amax(dim=1) / most).clamp(min=torch.finfo(torch.float32).tiny)
        result[name] = (rows / scale[:, None]).round().to(torch.int8).reshape(tensor.shape).contiguous()
        result[name + SCALE] = scale
    return result


def dequantize(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Float32 weights again, those without scales as they are; Corrupt where scales do not fit."""
    import torch

    result: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in weights:
            continue
        scale = weights.get(name + SCALE)
        if scale is None:
            result[name] = tensor
        elif tensor.dtype != torch.int8 or tuple(scale.shape) != tuple(tensor.shape[:1]):
            raise Corrupt(
                "quantized weights and their scales do not fit",
                where="weights.safetensors",
                got=f"{name}: {tensor.dtype} {tuple(tensor.shape)}, scales {tuple(scale.shape)}",
                expected="int8 and one scale a row",
                next_step="quantize the candidate again",
            )
        else:
            result[name] = tensor.float() * scale.reshape(-1, *[1] * (tensor.ndim - 1))
    return result


def write_candidate(parent: Path, target: Path, version: str, plan: Quantized) -> None:
    """A candidate folder made from its parent's; one that is there is replaced."""
    import yaml
    from safetensors.torch import load_file, save

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(parent, target)
    source = parent / "payload" / "weights.safetensors"
    before = source.stat().st_size
    quantized = target / "payload" / "weights.safetensors"
    quantized.write_bytes(save(quantize(load_file(source), plan.bits)))
    value = yaml.safe_load((parent / "candidate.yaml").read_text())
    value |= {
        "version": version,
        "base_model": f"{value['family']} {plan.parent}",
        "provenance": {"quantized_from": plan.parent, "bits": plan.bits, "method": "symmetric, a scale a row"},
        "notes": plan.description,
    }
    (target / "candidate.yaml").write_text(yaml.safe_dump(value, sort_keys=False))
    after = quantized.stat().st_size
    (target / "MODEL_CARD.md").write_text(
        f"# {value['family']} {version}\n\n{plan.description}\n\n## What it is\n\n{plan.parent} with weights of "
        f"{plan.bits} bits, one scale a row (weights only, arithmetic in float32): {before:,} bytes of weights became "
        f"{after:,}. It was trained on what {plan.parent} was trained on, and on nothing else.\n\n"
        f"## Of {plan.parent}\n\n" + (parent / "MODEL_CARD.md").read_text().partition("\n\n")[2]
    )


def plans(params: dict[str, object]) -> dict[str, Quantized]:
    """The section `quantized` of params.yaml; WrongCall names a wrong key."""
    section = params.get("quantized") or {}
    assert isinstance(section, dict)
    found = {}
    for version, value in section.items():
        try:
            found[version] = Quantized.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            path = ".".join(str(part) for part in first["loc"])
            raise WrongCall(
                "a quantized candidate does not parse",
                where=f"params.yaml, quantized.{version}.{path}",
                got=first["msg"],
            ) from None
    return found


def main() -> int:
    """Make every quantized candidate."""
    import yaml

    from speech.ctc.train import TARGET

    for version, plan in plans(yaml.safe_load(Path("params.yaml").read_text())).items():
        write_candidate(TARGET / plan.parent, TARGET / version, version, plan)
    return 0


if __name__ == "__main__":
    sys.exit(main())
