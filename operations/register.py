"""R2 Register: from a TrainManifest to a RegistryEntry, and its mirror in MLflow.

Boundary: reads documents and git; writes one document and one ledger event; asks the mirror to follow.
Invariants: every missing field is reported at once (R2.1); front end, tokenizer, decoder and weights agree, or it is
refused here and not in serving (R2.2); a refusal is in the ledger as a fail event, so that the release's page says what
stopped it, and the same command asks again. What failed outside the candidate (a store that is away) is no refusal.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from contracts.digest import Digest, canonical_json, sha256_bytes
from contracts.errors import Refused
from contracts.feature_contract import PROBE_TOLERANCE, FeatureContract
from contracts.policy import FamilyPolicy, Task
from contracts.registry_entry import RegistryEntry, validate_entry
from contracts.train_manifest import TrainManifest
from contracts.verdict import Value, Verdict
from operations import candidate as candidates
from operations.context import Context, once, put
from operations.gate import Stopped
from operations.migration.planning import plan_of, require_plan
from operations.mirror import follow
from operations.payload import materialise
from registry.documents import get_document


def register(context: Context, family: str, captured: dict[str, Digest]) -> dict[str, Digest]:
    """Outputs: `registry_entry`; raises Unregistered after the refusal is in the ledger."""
    release = captured["release"]
    inputs = {name: captured[name] for name in ("train_manifest", "candidate", "policy")}
    inputs |= {name: captured[name] for name in ("migration_plan",) if name in captured}

    def body() -> tuple[dict[str, Digest], dict[str, JsonValue]]:
        entry = _entry(context, family, captured)
        (digest,) = put(context, entry)
        return {"registry_entry": digest}, {"version": entry.version}

    try:
        outputs = once(context, family=family, release=release, step="register", inputs=inputs, body=body)
    except Refused as refusal:
        raise _unregistered(context, family, release, inputs, refusal) from refusal
    follow(context, family)
    return outputs


class Unregistered(Stopped):
    """The registry refused a candidate: what, where, got, expected and next step are those of the refusal."""

    def __init__(self, refusal: Refused, *, family: str, version: str, release: Digest) -> None:
        verdict = Verdict(value=Value.FAIL, reasons=(refusal.what,))
        super().__init__(
            "register", verdict, family=family, version=version, release=release, next_step=refusal.next_step
        )
        Refused.__init__(
            self, refusal.what, where=refusal.where, got=refusal.got, expected=refusal.expected,
            next_step=refusal.next_step,
        )  # fmt: skip


def _unregistered(
    context: Context, family: str, release: Digest, inputs: dict[str, Digest], refusal: Refused
) -> Unregistered:
    """The refusal, after the ledger has it."""
    version = context.ledger(family).state().releases[release].version
    facts: dict[str, JsonValue] = {
        "version": version, "reasons": [refusal.what], "exit_status": refusal.exit_status, "where": refusal.where,
        "got": refusal.got, "expected": refusal.expected, "next_step": refusal.next_step,
    }  # fmt: skip
    context.ledger(family).append(
        "register", "fail", at=context.timestamp(), release=release, inputs=inputs, data=facts
    )
    return Unregistered(refusal, family=family, version=version, release=release)


def _entry(context: Context, family: str, captured: dict[str, Digest]) -> RegistryEntry:
    policy = get_document(context.store, FamilyPolicy, captured["policy"])
    manifest = get_document(context.store, TrainManifest, captured["train_manifest"])
    candidate = get_document(context.store, candidates.Candidate, captured["candidate"])
    payload = materialise(context, manifest)
    contract = candidates.feature_contract(payload)
    _check_agreement(payload, contract, policy.task)
    require_plan(context, family, contract, plan_of(context, captured))
    current = context.ledger(family).state().current
    fields: dict[str, Any] = {
        **policy.registry,
        **candidate.registry,
        "model_id": f"{family}/{candidate.version}",
        "version": candidate.version,
        "base_model": candidate.base_model,
        "licence": candidate.licence,
        "languages": candidate.languages,
        "data_manifest": manifest.data.digest if manifest.data else "none: third party",
        "training_code_sha": candidate.training_code_sha,
        "serving_code_sha": candidates.head(context.settings.root),
        "feature_contract": context.store.put_blob(contract.canonical()),
        "serving_image": manifest.dependency_lock,
        "resource_envelope": policy.envelope.model_dump(),
        "rollback_target": current or "none: first release",
        "review_date": _review_date(context, family, captured["release"], policy),
        "train_manifest": captured["train_manifest"],
        "payload_digest": manifest.payload_digest,
        "high_risk": policy.high_risk,
    }
    fields.pop("review_days", None)
    return validate_entry(fields, where=f"{family} {candidate.version}")


def _review_date(context: Context, family: str, release: str, policy: FamilyPolicy) -> str:
    """Counted from the capture event, so that a release resumed on another day has the same entry."""
    captured_at = next(
        event.at for event in context.ledger(family).events() if event.release == release and event.step == "capture"
    )
    days = int(str(policy.registry.get("review_days", 0)))
    return (datetime.fromisoformat(captured_at) + timedelta(days=days)).date().isoformat() if days else ""


def front_end_drift(payload: Path, contract: FeatureContract) -> str | None:
    """How the front end of this machine differs from what the contract promises, None where it agrees (R2.2, R6.2)."""
    path = payload / "front_end.json"
    if not path.is_file() or sha256_bytes(canonical_json(json.loads(path.read_bytes()))) != contract.front_end_checksum:
        return "front_end.json is not the front end of the feature contract"
    if not contract.front_end_probe:
        return None  # an engine with a front end of its own: its configuration is all there is to compare
    from speech.front_end import FrontEndConfig, probe

    heard = probe(FrontEndConfig.parse(path.read_bytes(), where=path.name))
    far = max(abs(own - said) for own, said in zip(heard, contract.front_end_probe, strict=True))
    return f"the front-end probe is off by {far:.4f} (tolerance {PROBE_TOLERANCE})" if far > PROBE_TOLERANCE else None


def _check_agreement(payload: Path, contract: FeatureContract, expected: Task) -> None:
    """The front end is the contract's, and the engine takes the parts (R2.2, faults 51 and 52)."""
    from speech.runtimes import load_model
    from speech.runtimes.kinds import task_of

    drift = front_end_drift(payload, contract)
    if drift:
        raise Refused(
            "front end and feature contract disagree",
            where="feature_contract.json",
            got=drift,
            expected="the front end that the weights were trained with",
            next_step="export the candidate again",
        )

    try:
        task = task_of(load_model(payload))
    except Refused:
        raise
    except Exception as error:
        raise Refused(
            "the payload does not load",
            where=str(payload.name),
            got=f"{type(error).__name__}: {error}".replace(f"{payload}/", ""),
            expected="weights, tokenizer, decoder and front end that fit each other",
            next_step="export the candidate again",
        ) from error
    if task != expected:
        raise Refused(
            "the model is of another task than its family",
            where=str(payload.name),
            got=task,
            expected=expected,
            next_step="release it to another family, or name the task in params.yaml",
        )
