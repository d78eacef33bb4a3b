"""R5 Package: from scored documents to an immutable, signed bundle.

Boundary: builds the bundle's folder in a temporary place, freezes it into the store, writes one ledger event.
Invariants: the payload is the scored one (R5.1); only deterministic content goes in (R5.5), so that a release that was
killed and started again gives the same digest.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from contracts.bundle import BundleManifest, Golden, GoldenFixture
from contracts.digest import Digest, canonical_json
from contracts.errors import Refused
from contracts.policy import FamilyPolicy
from contracts.registry_entry import RegistryEntry
from contracts.reports import SafetyReport, ScoreReport
from contracts.train_manifest import TrainManifest
from operations import compute, rollback_packet
from operations.attest import attest
from operations.context import Context, once
from operations.mirror import follow
from operations.packs import required_packs
from operations.payload import materialise
from operations.safety import SAFETY_FILTERS
from operations.wheels import OUTPUT, keep
from registry.documents import get_document
from registry.folders import TRANSFERS, each


def package(
    context: Context,
    family: str,
    captured: dict[str, Digest],
    registered: dict[str, Digest],
    scored: dict[str, Digest],
    gated: dict[str, Digest],
) -> dict[str, Digest]:
    """Outputs: `bundle` (its name), and the builder's envelopes: `signature`, `provenance`, `scores_attested`.

    With `store.wheels` also `wheelhouse`, the envelope of the wheels that serving needs of the lock (R5.6).
    """
    inputs = {name: captured[name] for name in ("train_manifest", "model_card", "policy")}
    inputs |= {"registry_entry": registered["registry_entry"], "gate_report": gated["gate_report"]}
    inputs |= {name: scored[name] for name in ("score_report", "safety_report")}

    def body() -> tuple[dict[str, Digest], dict[str, JsonValue]]:
        from registry.bundle import assemble, freeze

        manifest = get_document(context.store, TrainManifest, captured["train_manifest"])
        kept = _keep_wheels(context, manifest)
        with tempfile.TemporaryDirectory(prefix="soundcheck-bundle-") as folder:
            _fill(context, Path(folder), manifest, inputs)
            bundle = assemble(Path(folder), family=family, version=manifest.version)
            if bundle.payload_digest != manifest.payload_digest:
                raise Refused(
                    "the payload that would be packaged is not the scored one",
                    where=f"{family} {manifest.version}",
                    got=bundle.payload_digest,
                    expected=manifest.payload_digest,
                    next_step="run the release again",
                )
            new_bytes = _new_bytes(context, bundle)
            digest = freeze(
                context.store,
                Path(folder),
                bundle,
                on_progress=lambda done, total: context.progress("store the bundle", done, total),
            )
        attested = {name: inputs[name] for name in ("policy", "gate_report")}
        envelopes = attest(context, digest, candidate=captured["candidate"], **attested)
        size = sum(entry.size for entry in bundle.files.values())
        return {"bundle": digest, **envelopes, **kept}, {
            "version": manifest.version,
            "bytes": size,
            "new_bytes": new_bytes,
        }

    outputs = once(context, family=family, release=captured["release"], step="package", inputs=inputs, body=body)
    follow(context, family)
    return outputs


def _keep_wheels(context: Context, manifest: TrainManifest) -> dict[str, Digest]:
    if not context.settings.store.wheels:
        return {}
    return {OUTPUT: keep(context, context.store.read_blob(manifest.dependency_lock)).envelope}


def _new_bytes(context: Context, bundle: BundleManifest) -> int:
    """Bytes of the bundle that the store does not have yet; content that stands in it twice counts once (R5.2)."""
    sizes = {entry.sha256: entry.size for entry in bundle.files.values()}
    asked = each(list(sizes), context.store.has_blob, threads=TRANSFERS)
    return sum(sizes[digest] for digest, there in asked if not there)


def _fill(context: Context, folder: Path, manifest: TrainManifest, inputs: dict[str, Digest]) -> None:
    """Write every file of the layout that contracts/bundle.py describes."""
    policy = get_document(context.store, FamilyPolicy, inputs["policy"])
    entry = get_document(context.store, RegistryEntry, inputs["registry_entry"])
    payload = materialise(context, manifest)
    shutil.copytree(payload, folder / "payload")
    (folder / "reports").mkdir()
    _write(folder / "text_normalizer.json", _normalizer(policy))
    _write(folder / "safety_filters.json", SAFETY_FILTERS)
    _write(folder / "routing_rules.json", {"routable": policy.canary.routable, "cohort": policy.canary.cohort})
    context.store.copy_blob(manifest.dependency_lock, folder / "runtime.lock")
    (folder / "registry_entry.json").write_bytes(entry.canonical())
    (folder / "train_manifest.json").write_bytes(manifest.canonical())
    context.store.copy_blob(inputs["score_report"], folder / "reports" / "quality.json")
    context.store.copy_blob(inputs["safety_report"], folder / "reports" / "safety.json")
    context.store.copy_blob(inputs["model_card"], folder / "MODEL_CARD.md")
    score = get_document(context.store, ScoreReport, inputs["score_report"])
    safety = get_document(context.store, SafetyReport, inputs["safety_report"])
    (folder / rollback_packet.PACKET).write_bytes(
        rollback_packet.make(rollback_packet.Documents(manifest, entry, policy, score, safety)).canonical()
    )
    _golden(context, folder, manifest.family, payload, policy)


def _write(path: Path, value: Any) -> None:
    path.write_bytes(canonical_json(json.loads(json.dumps(value))))


def _normalizer(policy: FamilyPolicy) -> dict[str, object]:
    from evalpacks.normalize import VERSIONS

    return {"name": policy.normalizer, "version": VERSIONS[policy.normalizer]}


def _golden(context: Context, folder: Path, family: str, payload: Path, policy: FamilyPolicy) -> None:
    """Fixtures spread over the pack, with what the payload answers to each (R5, golden fixtures)."""
    from speech.kinds import Prompt, kind

    pack = required_packs(context, family)[0]
    count = min(policy.staging.golden_fixtures, len(pack.utterances))
    chosen = pack.utterances.sample(count, random_state=policy.statistics.seed).sort_values("utterance_id")
    rows = chosen.to_dict("records")
    hears = kind(policy.task).hears
    prompts = [
        Prompt(pack.root / str(row["path"]), tenant=str(row.get("tenant", "")))
        if hears
        else Prompt(None, str(row["text"]))
        for row in rows
    ]
    context.progress("golden", 0, 1)
    answers = compute.answers(payload, prompts)
    context.progress("golden", 1, 1)
    fixtures = [
        GoldenFixture(
            fixture_id=str(row["utterance_id"]),
            audio=f"audio/{number:03d}.wav" if hears else "",
            prompt=prompt.text,
            slices={column: str(row[column]) for column in pack.slices},
            **answer._asdict(),
        )
        for number, (row, prompt, answer) in enumerate(zip(rows, prompts, answers, strict=True))
    ]
    (folder / "golden").mkdir()
    for fixture, prompt in zip(fixtures, prompts, strict=True):
        if prompt.path is not None:
            (folder / "golden" / "audio").mkdir(exist_ok=True)
            shutil.copyfile(prompt.path, folder / "golden" / fixture.audio)
    golden = Golden(
        max_word_edits=policy.staging.golden_max_word_edits,
        max_distance=policy.staging.golden_max_distance,
        fixtures=tuple(fixtures),
    )
    (folder / "golden" / "golden.json").write_bytes(golden.canonical())
