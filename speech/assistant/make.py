"""Candidates of the family `assistant`: `python -m speech.assistant.make VERSION --out DIR`.

Purpose: put a recogniser, a voice, documents and their index together, as ingestion and a release engineer would.
Boundary: reads the documents of speech/assistant/tenants and installed packages, writes the candidate folder; no
network.
Invariants: the folder appears whole and checked, or not at all; the same packages and documents give the same bytes;
all versions share the bytes of their recogniser and voice, so that a store keeps them once.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from contracts.digest import canonical_json
from contracts.errors import WrongCall
from speech import candidate_command
from speech.assistant.documents import Chunker, SourceDocument, TenantDocuments, ingest
from speech.assistant.index import build_index
from speech.runtimes.assistant import Cascade, CascadePart, part_digest
from speech.weights import check_payload

TENANTS = Path(__file__).with_name("tenants")
PAIRS = Chunker(unit="sentences", size=2)
WINDOWS = Chunker(unit="words", size=14)
VOICE = {
    "name": "reception", "voice": "en-gb-x-rp", "rate_wpm": 165, "pitch": 45, "sample_rate_hz": 22_050,
    "splitter": "sentences", "pause_s": 0.15,
}  # fmt: skip
"""speech.runtimes.espeak.VoiceSettings of the part `voice`."""

Sources = Mapping[str, TenantDocuments]


def _as_indexed(documents: TenantDocuments) -> TenantDocuments:
    return documents


def _rechunked(documents: TenantDocuments) -> TenantDocuments:
    """A new chunker ran over the documents; the index still has the passages of the one before."""
    return ingest(documents.tenant, documents.name, documents.documents, WINDOWS)


def _fares_raised(documents: TenantDocuments) -> TenantDocuments:
    """One tenant's fares were raised; its index was not built again."""
    if documents.tenant != "transit":
        return documents
    raised = tuple(
        document.model_copy(
            update={
                "text": document.text.replace("two pounds and forty pence", "two pounds and eighty pence"),
                "updated_at": datetime(2026, 11, 16, 8, tzinfo=UTC),
            }
        )
        if document.id == "tickets"
        else document
        for document in documents.documents
    )
    return ingest(documents.tenant, documents.name, raised, documents.chunker)


class Recipe(NamedTuple):
    """A version: settings of cascade.json, what happened to the documents after they were indexed, and why it is."""

    description: str
    settings: Mapping[str, Any]
    served: Callable[[TenantDocuments], TenantDocuments] = _as_indexed


_FIRST = {"analyser": "words", "answer_above": 0.25, "partial_every_s": 0.6, "hear_in_pauses": False}
_BETTER = {"analyser": "trigrams", "answer_above": 0.25, "partial_every_s": 0.6, "hear_in_pauses": True}

RECIPES = {
    "v1": Recipe("Baseline: passages are found by whole words; the final is heard once the turn has ended.", _FIRST),
    "v2": Recipe(
        "Better: passages are found by pieces of words, which survive misheard letters, and the final is heard while "
        "the endpoint is waited for.",
        _BETTER,
    ),
    "v3-rechunked": Recipe(
        "Broken by ingestion: the documents were cut anew, in windows of words, and the index was not built again, so "
        "that what is cited stands elsewhere.",
        _BETTER,
        _rechunked,
    ),
    "v3-stale": Recipe(
        "Stale: the fares of the tenant transit were raised, and its index was not built again.", _BETTER, _fares_raised
    ),
}
"""Version -> how it is made."""


def build(version: str, out: Path) -> Path:
    """Write the candidate folder of a version, replacing one that is there, and return it; WrongCall for no version."""
    if version not in RECIPES:
        raise WrongCall("unknown version of the assistant", got=version, expected=" or ".join(RECIPES))
    recipe = RECIPES[version]
    temporary = out.with_name(f".{out.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    payload = temporary / "payload"
    _write_parts(payload)
    _write_tenants(payload, recipe)
    _write_cascade(payload, recipe)
    check_payload(payload)
    description = _description(version, recipe)
    (temporary / "candidate.yaml").write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    (temporary / "MODEL_CARD.md").write_text(_card(version, recipe), encoding="utf-8")
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)
    return out


def read_tenants(folder: Path = TENANTS) -> list[TenantDocuments]:
    """The documents of every tenant, cut in pairs of sentences."""
    listed = [json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    return [
        ingest(entry["tenant"], entry["name"], tuple(map(SourceDocument.model_validate, entry["documents"])), PAIRS)
        for entry in listed
    ]


def _write_parts(payload: Path) -> None:
    """The recogniser out of its package, the voice from its settings."""
    from speech import third_party

    with tempfile.TemporaryDirectory() as folder:
        recogniser = third_party.build("moonshine-tiny", Path(folder) / "asr")
        shutil.copytree(recogniser / "payload", payload / "parts" / "asr")
    voice = payload / "parts" / "voice"
    voice.mkdir()
    (voice / "runtime.json").write_bytes(canonical_json({"engine": "espeak"}))
    (voice / "voice.json").write_bytes(canonical_json(VOICE))
    for name in ("feature_contract.json", "front_end.json"):
        shutil.copyfile(payload / "parts" / "asr" / name, payload / name)


def _write_tenants(payload: Path, recipe: Recipe) -> None:
    for folder in ("documents", "index"):
        (payload / folder).mkdir()
    for indexed in read_tenants():
        name = f"{indexed.tenant}.json"
        (payload / "index" / name).write_bytes(build_index(indexed, version=1).canonical())
        (payload / "documents" / name).write_bytes(recipe.served(indexed).canonical())


def _write_cascade(payload: Path, recipe: Recipe) -> None:
    engines = {"asr": "moonshine", "voice": "espeak"}
    parts = {
        name: CascadePart(engine=engine, payload_digest=part_digest(payload / "parts" / name))
        for name, engine in engines.items()
    }
    cascade = Cascade.model_validate({"parts": parts, **recipe.settings})
    (payload / "cascade.json").write_bytes(cascade.canonical())
    (payload / "runtime.json").write_bytes(canonical_json({"engine": "assistant"}))


def _description(version: str, recipe: Recipe) -> dict[str, Any]:
    return {
        "family": "assistant",
        "version": version,
        "origin": "third_party",
        "base_model": "Moonshine tiny, English; espeak-ng; replies that quote documents",
        "licence": "MIT (recogniser), GPL-3.0-or-later (voice), CC0-1.0 (documents)",
        "languages": ["en"],
        "hyperparameters": dict(recipe.settings),
        "seeds": {},
        "training_code_sha": "none: third party",
        "provenance": {"asr": "moonshine-voice", "voice": "espeakng-loader"},
        "notes": recipe.description,
    }


def _card(version: str, recipe: Recipe) -> str:
    return f"""# assistant {version}

{recipe.description}

| | |
|---|---|
| hears | 16 kHz mono English, by Moonshine tiny (MIT); 8 kHz is resampled |
| knows | the documents of three made-up tenants, each out of the others' reach |
| answers | by quoting one sentence of a document, and citing where it stands |
| speaks | espeak-ng (GPL-3.0-or-later), voice {VOICE["voice"]} |

**Use**: short questions to published documents, where a person takes over what is not answered.

**Not for**: advice on health, money or law; anything that must not be misheard; questions that need two documents.

**Known weakness**: a question is matched by its letters, so that one that is worded otherwise than the documents is
passed on to a person; names and numbers that are misheard are not asked back.

**Leakage**: unknown. The recogniser's training data is not ours.
"""


def main(arguments: list[str] | None = None) -> int:
    """The command line: builds one candidate, prints its folder, returns the exit status."""
    options = candidate_command.parser("speech.assistant.make", __doc__, RECIPES).parse_args(arguments)
    return candidate_command.run(lambda: build(options.name, options.out))


if __name__ == "__main__":
    sys.exit(main())
