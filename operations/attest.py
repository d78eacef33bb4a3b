"""The builder's word about a bundle: signed when it is packaged, checked whenever it is verified or restored.

Boundary: the store, the ledger and the key ring.
Invariants: a bundle has three envelopes: the builder's signature of its manifest, its SLSA provenance, and the scores
of its payload; each is checked against the bundle's own documents, not only for its signature; a key that was revoked
later leaves a bundle restorable that it signed before, and this is said.
Source: release-algorithm R5.4, B3, S1; faults 23, 25, 36.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import JsonValue

from contracts.bundle import BundleManifest
from contracts.digest import Digest, short
from contracts.errors import Corrupt, DependencyFailed, Refused, SoundcheckError
from contracts.ledger_event import GENESIS, LedgerEvent
from contracts.reports import GateReport, ScoreReport
from contracts.train_manifest import TrainManifest
from operations import keys
from operations.capture import release_id
from operations.context import Context, log
from registry.bundle import load_manifest
from registry.documents import get_document
from registry.keyring import EVERY_REASON, Position
from registry.provenance import (
    DISTRIBUTION,
    PACKAGED,
    PROVENANCE_TYPE,
    SCORE_TYPE,
    Build,
    check_provenance,
    differences,
    provenance,
    score_predicate,
)
from registry.signing import BUNDLE_TYPE, Statement, sign, verify_envelope

ENVELOPES = ("signature", "provenance", "scores_attested")
"""Outputs of a package event: the three envelopes."""


def attest(
    context: Context, bundle: Digest, *, candidate: Digest, policy: Digest, gate_report: Digest
) -> dict[str, Digest]:
    """Sign a bundle that is in the store, its provenance and its scores; the same bytes each time (R5.4)."""
    signer = keys.builder(context)
    manifest = load_manifest(context.store, bundle)
    build = _build(context, manifest, candidate=candidate, policy=policy, gate_report=gate_report, builder=signer.name)
    family = manifest.family
    envelopes = (
        sign(manifest, {family: bundle}, BUNDLE_TYPE, signer),
        sign(provenance(build), {family: bundle}, PROVENANCE_TYPE, signer),
        sign(score_predicate(build), {family: manifest.payload_digest}, SCORE_TYPE, signer),
    )
    return {role: context.store.put_blob(envelope) for role, envelope in zip(ENVELOPES, envelopes, strict=True)}


def _build(
    context: Context, manifest: BundleManifest, *, candidate: Digest, policy: Digest, gate_report: Digest, builder: str
) -> Build:
    """The documents behind a bundle: its own copies of them, and those that it is not allowed to hold."""
    return Build(
        bundle=manifest,
        manifest=get_document(context.store, TrainManifest, manifest.files[PACKAGED["train_manifest"]].sha256),
        scores=get_document(context.store, ScoreReport, manifest.files[PACKAGED["score_report"]].sha256),
        gates=get_document(context.store, GateReport, gate_report),
        candidate=candidate,
        policy=policy,
        gate_report=gate_report,
        release=release_id(manifest.family, manifest.version, manifest.payload_digest, policy),
        builder=builder,
    )


class _Reading(NamedTuple):
    """A package event and the bundle it is about."""

    event: LedgerEvent
    bundle: Digest
    manifest: BundleManifest


def attestation_faults(context: Context, package: LedgerEvent) -> list[str]:
    """What is wrong with the builder's envelopes of a packaged bundle, in sentences; [] when each one holds.

    Raises DependencyFailed where the store does not answer: a bundle is never called broken for that.

    1. Each envelope is signed by a builder whose key counts at the event's place in the ledger, about this bundle.
    2. The signed manifest is the bundle's.
    3. The documents that the event names are those that the bundle holds.
    4. Provenance and scores say what the bundle's documents say.
    """
    bundle = package.outputs["bundle"]
    try:
        reading = _Reading(package, bundle, load_manifest(context.store, bundle))
    except DependencyFailed:
        raise  # no answer says nothing about a bundle
    except SoundcheckError as error:
        return [f"manifest: {error.what}"]
    files = reading.manifest.files
    faults = [
        f"{path}: the bundle holds another {_words(role)} than the ledger names"
        for role, path in PACKAGED.items()
        if path not in files or package.inputs.get(role) != files[path].sha256  # 3
    ]
    for role in ENVELOPES if not faults else ENVELOPES[:1]:
        try:
            _check(context, role, reading)
        except DependencyFailed:
            raise
        except SoundcheckError as error:
            faults.append(f"{_words(role)}: {error.what}" + (f" ({error.got})" if error.got else ""))
    return faults


def _words(role: str) -> str:
    return role.replace("_", " ")


def _check(context: Context, role: str, reading: _Reading) -> None:
    digest = reading.event.outputs.get(role)
    if digest is None:
        raise Refused("the ledger names no such envelope", expected=f"output {role!r} of the package event")
    envelope = context.store.read_blob(digest)
    about = reading.manifest.payload_digest if role == "scores_attested" else reading.bundle
    kind = {"signature": BUNDLE_TYPE, "provenance": PROVENANCE_TYPE, "scores_attested": SCORE_TYPE}[role]
    statement = verify_envelope(  # 1
        envelope, keys.ring(context), role="builder", predicate_type=kind, subject=about,
        at=Position(reading.event.family, reading.event.sequence), kept=EVERY_REASON,
    )  # fmt: skip
    if role == "signature":
        _say_revoked(statement, reading)
    expected = (
        reading.manifest.as_json() if role == "signature" else _expected(context, role, statement, reading)
    )  # 2, 4
    wrong = differences(statement.predicate, expected)
    if wrong or dict(statement.subjects) != {reading.manifest.family: about}:
        raise Corrupt("it does not say what the bundle's documents say", got=", ".join(wrong) or "subject")


def _expected(context: Context, role: str, statement: Statement, reading: _Reading) -> dict[str, JsonValue]:
    """The predicate that the documents give."""
    event, signer = reading.event, statement.signers[0].name
    named = {name: event.inputs.get(name, GENESIS) for name in ("policy", "gate_report")}
    build = _build(context, reading.manifest, candidate=_candidate(context, event), builder=signer, **named)
    if event.release != build.release:
        raise Corrupt("the ledger names another release", got=short(event.release), expected=short(build.release))
    if role == "scores_attested":
        return score_predicate(build)
    check_provenance(statement.predicate)
    builder = statement.predicate.get("runDetails", {}).get("builder", {})
    built_with = builder.get("version", {}).get(DISTRIBUTION, "")  # an earlier version of ours may have built it
    return provenance(build, built_with=built_with)


def _candidate(context: Context, package: LedgerEvent) -> Digest:
    """The candidate that was captured for this release, by the newest capture before the package event."""
    for event in reversed(context.ledger(package.family).events()[: package.sequence]):
        if event.step == "capture" and event.release == package.release and "candidate" in event.outputs:
            return event.outputs["candidate"]
    raise Corrupt("the ledger has no capture event of this release", where=package.family)


def _say_revoked(statement: Statement, reading: _Reading) -> None:
    for key in statement.signers:
        if key.revoked and key.revoked.reason == "compromised":
            log.warning(
                "bundle %s is signed by key %s of %s, which was revoked later as compromised; it was signed before",
                short(reading.bundle), short(key.key_id), key.name,
            )  # fmt: skip
