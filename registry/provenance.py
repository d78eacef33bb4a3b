"""What a builder attests: how a bundle was built (SLSA provenance), and how its payload scored.

Boundary: no I/O, no clock; documents in, predicates out.
Invariants: a predicate is computed from documents alone, so that anybody who has the bundle can compute it again and
compare it field by field; two builds of one bundle attest the same; nothing in it is private (names and digests).
Source: SLSA provenance v1 (its schema is in-toto-attestation's); release-algorithm R5.4, S1; faults 23, 25.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from pydantic import JsonValue

from contracts.bundle import BundleManifest
from contracts.digest import Digest, canonical_json
from contracts.errors import Corrupt
from contracts.reports import GateReport, ScoreReport
from contracts.train_manifest import TrainManifest

PROVENANCE_TYPE = "https://slsa.dev/provenance/v1"
SCORE_TYPE = "https://soundcheck.invalid/predicates/score/v1"
"""Predicate of a builder's signature: what a payload was scored on, and the verdict; the subject is the payload."""
BUILD_TYPE = "https://soundcheck.invalid/builds/release/v1"
BUILDER_ID = "https://soundcheck.invalid/builders/"
DISTRIBUTION = "speech-soundcheck"
PACKAGED = {
    "registry_entry": "registry_entry.json",
    "train_manifest": "train_manifest.json",
    "score_report": "reports/quality.json",
    "safety_report": "reports/safety.json",
    "model_card": "MODEL_CARD.md",
}
"""Role of a document in the ledger -> the bundle's own copy of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What one build is known by.

    Attributes:
        bundle: the bundle's manifest; manifest, scores and gates are the documents that it and the ledger name.
        candidate, policy, gate_report: digests of documents that are not in the bundle.
        release: the release, which is the build's invocation.
        builder: name of the key that signs.
    """

    bundle: BundleManifest
    manifest: TrainManifest
    scores: ScoreReport
    gates: GateReport
    candidate: Digest
    policy: Digest
    gate_report: Digest
    release: str
    builder: str


def provenance(build: Build, *, built_with: str | None = None) -> dict[str, JsonValue]:
    """The SLSA provenance v1 predicate of a bundle; no times are in it, so that a build made again attests the same.

    `built_with` is the version of Soundcheck that built it; without one, this one.
    """
    files = build.bundle.files
    external: dict[str, JsonValue] = {
        "family": build.bundle.family,
        "version": build.bundle.version,
        "candidate": build.candidate,
        "policy": build.policy,
    }
    made = [_resource(role, files[path].sha256) for role, path in PACKAGED.items() if role != "train_manifest"]
    tool = version(DISTRIBUTION) if built_with is None else built_with
    builder: dict[str, JsonValue] = {"id": BUILDER_ID + build.builder, "version": {DISTRIBUTION: tool}}
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": external,
            "resolvedDependencies": list(_dependencies(build)),
        },
        "runDetails": {
            "builder": builder,
            "metadata": {"invocationId": build.release},
            "byproducts": [*made, _resource("gate_report", build.gate_report)],
        },
    }


def _dependencies(build: Build) -> Iterator[JsonValue]:
    """Train manifest, data, code, locks, parameters, payload and base model, each by digest."""
    manifest = build.manifest
    yield _resource("train_manifest", build.bundle.files[PACKAGED["train_manifest"]].sha256)
    if manifest.data:
        yield _resource("data_manifest", manifest.data.digest)
    yield {"name": "training_code", "digest": {"gitCommit": manifest.training_code_sha}}
    yield _resource("dependency_lock", manifest.dependency_lock)
    if manifest.dvc_lock:
        yield _resource("dvc_lock", manifest.dvc_lock)
    yield _resource("params", manifest.params)
    yield _resource("payload", manifest.payload_digest)
    base = build.scores.quantized_from or (manifest.payload_digest if manifest.origin == "third_party" else None)
    if base:
        yield {**_resource("base_model", base), "annotations": {"description": manifest.base_model}}


def _resource(name: str, digest: Digest) -> dict[str, JsonValue]:
    return {"name": name, "digest": {"sha256": digest}}


def score_predicate(build: Build) -> dict[str, JsonValue]:
    """What the payload was scored on and what the gates said (score/v1)."""
    files, gates = build.bundle.files, build.gates
    return {
        "family": build.bundle.family,
        "version": build.bundle.version,
        "release": build.release,
        "policy": build.policy,
        "packs": dict(sorted(build.scores.packs.items())),
        "comparisons": len(build.scores.comparisons),
        "scoreReport": files[PACKAGED["score_report"]].sha256,
        "safetyReport": files[PACKAGED["safety_report"]].sha256,
        "gateReport": build.gate_report,
        "verdict": gates.verdict.value.name.lower(),
        "verdicts": {
            "quality": gates.quality.value.name.lower(),
            "serving": gates.serving.value.name.lower(),
            "safety": gates.safety.value.name.lower(),
        },
    }


def check_provenance(predicate: Mapping[str, Any]) -> None:
    """Corrupt where a predicate is not of SLSA provenance v1's schema."""
    from google.protobuf.json_format import ParseDict, ParseError
    from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance

    try:
        ParseDict(dict(predicate), Provenance())
    except ParseError as error:
        raise Corrupt("not SLSA provenance v1", where="predicate", got=str(error).split("\n")[0]) from None


def differences(stated: JsonValue, expected: JsonValue, where: str = "") -> list[str]:
    """Where a predicate says something else than the documents, as paths of fields; [] means the same JSON."""
    if isinstance(stated, dict) and isinstance(expected, dict):
        faults = []
        for name in sorted(stated.keys() | expected.keys()):
            path = f"{where}.{name}".lstrip(".")
            both = name in stated and name in expected
            faults += differences(stated[name], expected[name], path) if both else [path]
        return faults
    if isinstance(stated, list) and isinstance(expected, list) and len(stated) == len(expected):
        rows = zip(stated, expected, strict=True)
        return [fault for at, (left, right) in enumerate(rows) for fault in differences(left, right, f"{where}[{at}]")]
    return [] if canonical_json(stated) == canonical_json(expected) else [where]
