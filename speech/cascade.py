"""Cascades of two trained candidates: `python -m speech.cascade`, as the section `cascade` of params.yaml says.

Purpose: the DVC stage `cascade`; one candidate folder made of a small and a large one (speech/runtimes/cascade.py).
Boundary: reads params.yaml and candidates/asr-commands/{small,large}, writes candidates/asr-commands/VERSION.
Invariants: the parts are copied byte by byte, so that the store keeps each blob once; equal inputs give equal bytes.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationError

from contracts.digest import canonical_json, digest_of
from contracts.document import Document
from contracts.errors import Refused, WrongCall
from contracts.feature_contract import FeatureContract
from speech.runtimes.cascade import CascadeConfig, part_digest

TARGET = Path("candidates/asr-commands")


class Cascaded(Document):
    """One cascade: versions of its parts, the confidence under which the large one hears, a sentence about it."""

    KIND: ClassVar[str] = "cascaded"

    small: str
    large: str
    below: Annotated[float, Field(ge=0, le=1)]
    description: str


def plans(params: dict[str, Any]) -> dict[str, Cascaded]:
    """The section `cascade` of params.yaml; WrongCall names a wrong key."""
    found = {}
    for version, value in (params.get("cascade") or {}).items():
        try:
            found[version] = Cascaded.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            path = ".".join(str(part) for part in first["loc"])
            raise WrongCall(
                "a cascade does not parse", where=f"params.yaml, cascade.{version}.{path}", got=first["msg"]
            ) from None
    return found


def write_payload(payload: Path, small: Path, large: Path, below: float) -> None:
    """Write the payload of a cascade from two payload folders; Refused where they hear at different rates."""
    contracts = {}
    for name, part in (("small", small), ("large", large)):
        shutil.copytree(part, payload / "parts" / name)
        contracts[name] = FeatureContract.parse((part / "feature_contract.json").read_bytes(), where=f"parts/{name}")
    first, second = contracts["small"], contracts["large"]
    if first.sample_rate_hz != second.sample_rate_hz:
        raise Refused(
            "the parts of a cascade hear at different rates",
            where="feature_contract.json",
            got=f"small {first.sample_rate_hz} Hz, large {second.sample_rate_hz} Hz",
            expected="one rate",
            next_step="train the small model at the large one's rate",
        )
    config = CascadeConfig(below=below, small=part_digest(small), large=part_digest(large))
    front_end = {"kind": "cascade", **{name: part.front_end_checksum for name, part in contracts.items()}}
    contract = FeatureContract(
        sample_rate_hz=second.sample_rate_hz,
        accepted_rates_hz=tuple(rate for rate in second.accepted_rates_hz if rate in first.accepted_rates_hz),
        normalisation="that of each part",
        text_normalizer=second.text_normalizer,
        tokenizer=second.tokenizer,
        front_end_checksum=digest_of(front_end),
    )
    (payload / "runtime.json").write_text(json.dumps({"engine": "cascade"}))
    (payload / "cascade.json").write_bytes(config.canonical())
    (payload / "front_end.json").write_bytes(canonical_json(front_end))
    (payload / "feature_contract.json").write_bytes(contract.canonical())


def write_candidate(shelf: Path, target: Path, version: str, plan: Cascaded) -> None:
    """A candidate folder made of two of the same shelf; one that is there is replaced."""
    import pandas
    import yaml

    shutil.rmtree(target, ignore_errors=True)
    parts = [shelf / plan.small, shelf / plan.large]
    write_payload(target / "payload", parts[0] / "payload", parts[1] / "payload", plan.below)
    manifests = [pandas.read_parquet(part / "data_manifest.parquet") for part in parts]
    heard = pandas.concat(manifests).drop_duplicates("utterance_id", ignore_index=True)
    heard.to_parquet(target / "data_manifest.parquet", index=False)
    described = [yaml.safe_load((part / "candidate.yaml").read_text()) for part in parts]
    value = described[1] | {
        "version": version,
        "base_model": f"{described[1]['family']} {plan.small} and {plan.large}",
        "hyperparameters": {"below": plan.below},
        "seeds": {f"{name}_{seed}": number for name, one in zip(("small", "large"), described, strict=True)
                  for seed, number in one["seeds"].items()},
        "provenance": {"small": plan.small, "large": plan.large},
        "notes": plan.description,
    }  # fmt: skip
    (target / "candidate.yaml").write_text(yaml.safe_dump(value, sort_keys=False))
    (target / "MODEL_CARD.md").write_text(
        f"# {value['family']} {version}\n\n{plan.description}\n\n## What it is\n\n{plan.small} hears every utterance. "
        f"Where its confidence is under {plan.below:g}, {plan.large} hears it again and answers. Streams show what "
        f"{plan.small} hears; no word of a partial is committed, because {plan.large} may answer otherwise at the "
        f"end.\n\nConfidence is passed on from the part that answered.\n"
        + "".join(
            f"\n## Of {name}\n\n" + (part / "MODEL_CARD.md").read_text().partition("\n\n")[2]
            for name, part in zip((plan.small, plan.large), parts, strict=True)
        )
    )


def main() -> int:
    """Make every cascade of params.yaml."""
    import yaml

    for version, plan in plans(yaml.safe_load(Path("params.yaml").read_text())).items():
        write_candidate(TARGET, TARGET / version, version, plan)
    return 0


if __name__ == "__main__":
    sys.exit(main())
