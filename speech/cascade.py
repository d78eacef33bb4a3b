"""Cascades of two trained candidates: `python -m speech.cascade`, as the section `cascade` of params.yaml says.

Purpose: the DVC stage `cascade`; one candidate folder made of a small and a large one (speech/runtimes/cascade.py).
Boundary: reads params.yaml, candidates/asr-commands/{small,large} and the speech of a router (speech/router.py), writes
candidates/asr-commands/VERSION.
Invariants: the parts are copied byte by byte, so that the store keeps each blob once; equal inputs give equal bytes.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from contracts.digest import canonical_json, digest_of
from contracts.document import Document
from contracts.errors import Refused, WrongCall
from contracts.feature_contract import FeatureContract
from speech.router import SPEECH, RouterSpeech, fit_on, listen, threshold_table
from speech.runtimes import load as load_engine
from speech.runtimes.cascade import PARTS, CascadeConfig, Share, part_digest
from speech.runtimes.cascade_routed import TellingRuntime

if TYPE_CHECKING:
    import pandas

TARGET = Path("candidates/asr-commands")


class Cascaded(Document):
    """One cascade.

    Attributes:
        small, large: versions of its parts.
        below: sureness under which the large one hears.
        router: speech on which a router is fitted, whose probability is then the sureness, while the small one hears;
            None: the small one's confidence is, at the end.
        description: a sentence about it.
    """

    KIND: ClassVar[str] = "cascaded"

    small: str
    large: str
    below: Share
    router: RouterSpeech | None = None
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


def write_candidate(shelf: Path, target: Path, version: str, plan: Cascaded, *, speech: Path = SPEECH) -> None:
    """A candidate folder made of two of the same shelf; one that is there is replaced.

    Args:
        speech: folder of the held-out speech of routers, by version.
    """
    import pandas
    import yaml

    shutil.rmtree(target, ignore_errors=True)
    parts = [shelf / plan.small, shelf / plan.large]
    write_payload(target / "payload", parts[0] / "payload", parts[1] / "payload", plan.below)
    manifests = [pandas.read_parquet(part / "data_manifest.parquet") for part in parts]
    about_router = ""
    if plan.router is not None:
        rows = pandas.read_parquet(speech / version / "manifest.parquet")
        about_router = add_router(target / "payload", rows)
        manifests.append(rows[[name for name in manifests[0].columns if name in rows.columns]])
    heard = pandas.concat(manifests).drop_duplicates("utterance_id", ignore_index=True)
    heard.to_parquet(target / "data_manifest.parquet", index=False)
    described = [yaml.safe_load((part / "candidate.yaml").read_text()) for part in parts]
    seeds = {f"{name}_{seed}": number for name, one in zip(("small", "large"), described, strict=True)
             for seed, number in one["seeds"].items()}  # fmt: skip
    value = described[1] | {
        "version": version,
        "base_model": f"{described[1]['family']} {plan.small} and {plan.large}",
        "hyperparameters": {"below": plan.below},
        "seeds": seeds | ({"router": plan.router.seed} if plan.router else {}),
        "provenance": {"small": plan.small, "large": plan.large},
        "notes": plan.description,
    }
    (target / "candidate.yaml").write_text(yaml.safe_dump(value, sort_keys=False))
    cards = {name: (part / "MODEL_CARD.md").read_text() for name, part in zip(("small", "large"), parts, strict=True)}
    (target / "MODEL_CARD.md").write_text(_card(f"{value['family']} {version}", plan, about_router, cards))


def add_router(payload: Path, rows: pandas.DataFrame) -> str:
    """Fit a router on held-out speech and put it into cascade.json; a section of the model card about it.

    Args:
        rows: the manifest of the speech, as speech.router writes it.
    """
    small, large = (load_engine(payload / "parts" / part) for part in PARTS)
    if not isinstance(small, TellingRuntime):
        raise Refused(
            "a router has nothing to watch",
            where="small part of a cascade",
            got="an engine that does not tell how unsure its outputs are",
            expected="one that does, such as ctc",
            next_step="leave `router` out: the cascade then goes by the confidence of the answer",
        )
    heard = listen(small, large, rows)
    router, sureness = fit_on(heard)
    path = payload / "cascade.json"
    config = CascadeConfig.parse(path.read_bytes(), where=path.name)
    path.write_bytes(config.model_copy(update={"router": router}).canonical())
    table = "\n".join(threshold_table(heard, sureness, config.below))
    alone = [f"{errors.sum() / heard.words.sum():.1%}" for errors in (heard.small_errors, heard.large_errors)]
    return (
        f"\n## The router\n\nA logistic regression on the entropy of the small model's outputs and on their share of "
        f"blanks tells how probable it is that every word is right, while the utterance is being heard. It was fitted "
        f"on {len(rows):,} utterances of the training voices that no part was trained on, and {config.below:g} is the "
        f"lowest threshold of the table below at which no accent in any noise loses a point there. Its features, how "
        f"it hands over and that rule were chosen with figures of the eval pack `commands` in view, which flatters "
        f"this model there; docs/routing.md has those of a pack that nobody had looked at. On the training voices the "
        f"small model alone has a WER of {alone[0]}, the large one of {alone[1]}, and together (each voice routed by a "
        f"regression that never heard it):\n\n{table}\n"
    )


def _card(title: str, plan: Cascaded, about_router: str, cards: dict[str, str]) -> str:
    """The model card; `cards` are those of the parts."""
    if plan.router is None:
        routing = (
            f"{plan.small} hears every utterance. Where its confidence is under {plan.below:g}, {plan.large} hears it "
            f"again and answers. Streams show what {plan.small} hears"
        )
    else:
        routing = (
            f"{plan.small} begins to hear every utterance. As soon as the router holds it for right with less than "
            f"{plan.below:g}, {plan.large} hears the utterance from its start, and answers. Streams show what "
            f"{plan.small} hears until then, what {plan.large} hears from then on"
        )
    return (
        f"# {title}\n\n{plan.description}\n\n## What it is\n\n{routing}; no word of a partial is committed, because "
        f"{plan.large} may answer otherwise at the end.\n\nConfidence is passed on from the part that answered.\n"
        + about_router
        + "".join(
            f"\n## Of {name}\n\n" + card.partition("\n\n")[2]
            for name, card in zip((plan.small, plan.large), cards.values(), strict=True)
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
