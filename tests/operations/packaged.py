"""A release whose bundle is packaged and signed, without a model: from here to its approval and its promotion."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contracts.approval import Evidence
from contracts.bundle import BundleManifest
from contracts.digest import Digest
from contracts.ledger_event import LedgerEvent
from operations import pointer
from operations.approve import record
from operations.attest import attest
from operations.context import Context, put
from registry.bundle import assemble, freeze
from tests.operations.gated_releases import FAMILY, GatedRelease
from tests.registry.registry_parts import write_folder


class Packaged:
    """A release whose bundle is in the store, signed; `event` is its package event.

    `payload` and `more` are files of the payload and of the bundle, `entry` is the registry entry.
    """

    def __init__(
        self, context: Context, folder: Path, version: str = "v2", weights: bytes = b"weights",
        more: Mapping[str, bytes] | None = None, payload: Mapping[str, bytes] | None = None, entry: bytes = b"entry",
    ) -> None:  # fmt: skip
        self.context = context
        files = {
            "payload/runtime.json": b"{}",
            "payload/weights.safetensors": weights,
            "runtime.lock": b"numpy==2.4.6\n",
        } | {f"payload/{path}": content for path, content in (payload or {}).items()}
        digest = assemble(write_folder(folder / "payload-only", files), family=FAMILY, version=version).payload_digest
        release = GatedRelease(context, payload=digest, version=version)
        gated = release.gate()
        captured, scored = release.captured, release.scored
        candidate = context.store.put_blob(f"candidate {version}".encode())
        context.ledger(FAMILY).append(
            "capture", "complete", at="2026", release=captured["release"], outputs={"candidate": candidate}
        )
        self.inputs = {
            "train_manifest": captured["train_manifest"],
            "policy": captured["policy"],
            "registry_entry": context.store.put_blob(entry),
            "model_card": context.store.put_blob(b"# card\n"),
            "gate_report": gated["gate_report"],
            "score_report": scored["score_report"],
            "safety_report": scored["safety_report"],
        }
        copies = {
            "train_manifest.json": "train_manifest",
            "registry_entry.json": "registry_entry",
            "MODEL_CARD.md": "model_card",
            "reports/quality.json": "score_report",
            "reports/safety.json": "safety_report",
        }
        files |= {path: context.store.read_blob(self.inputs[role]) for path, role in copies.items()}
        whole = write_folder(folder / "bundle", {**files, **(more or {})})
        self.manifest: BundleManifest = assemble(whole, family=FAMILY, version=version)
        self.bundle = freeze(context.store, whole, self.manifest)
        self.release, self.candidate = captured["release"], candidate
        self.envelopes = self.attest()
        self.event = self.append()

    def attest(self) -> dict[str, Digest]:
        return attest(
            self.context, self.bundle, candidate=self.candidate,
            policy=self.inputs["policy"], gate_report=self.inputs["gate_report"],
        )  # fmt: skip

    def append(self, **changes: Digest) -> LedgerEvent:
        """A package event; `changes` go over its outputs and inputs."""
        outputs = {"bundle": self.bundle, **self.envelopes}
        return self.context.ledger(FAMILY).append(
            "package", "complete", at="2026", release=self.release,
            inputs={name: changes.get(name, digest) for name, digest in self.inputs.items()},
            outputs={name: changes.get(name, digest) for name, digest in outputs.items()},
        )  # fmt: skip

    def ask(self) -> Digest:
        """Evidence about this bundle, which waits for approval."""
        reports = {role: self.inputs[role] for role in ("score_report", "safety_report", "gate_report", "policy")}
        for role in ("timing_report", "replay_report", "canary_report"):
            reports[role] = self.context.store.put_blob(f"{role} of {self.manifest.version}".encode())
        shown = Evidence(
            family=FAMILY, version=self.manifest.version, bundle=self.bundle, previous_policy=None,
            rollback_target=None, **reports,
        )  # fmt: skip
        (evidence,) = put(self.context, shown)
        self.context.ledger(FAMILY).append(
            "request_approval", "complete", at=self.context.timestamp(), release=self.release,
            outputs={"evidence": evidence},
        )  # fmt: skip
        return evidence

    def approve(self, **changes: Any) -> Digest:
        """Evidence that anna has said yes to."""
        evidence = self.ask()
        said = {"decision": "promote", "key_name": "anna", "reviewed_slices": ("commands/accent=scottish",)} | changes
        record(self.context, FAMILY, evidence, **said)
        return evidence

    def promote(self, evidence: Digest | None = None) -> LedgerEvent:
        """As if the release had gone all the way: the pointer moves, and the outcome of it is in the ledger."""
        inputs = {"evidence": evidence or self.approve()}
        seen = pointer.current(self.context, FAMILY)
        table = pointer.move(self.context, FAMILY, seen, stable=self.bundle, actor="anna", reason="release")
        return self.context.ledger(FAMILY).append(
            "promote", "complete", at=self.context.timestamp(), release=self.release, inputs=inputs,
            outputs={"bundle": self.bundle, "route_table": table.digest()},
            data={"version": self.manifest.version, "kind": "promote", "route_version": table.version},
        )  # fmt: skip

    def statement(self, role: str) -> dict[str, Any]:
        """What an envelope of this bundle says."""
        envelope = json.loads(self.context.store.read_blob(self.envelopes[role]))
        said: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))
        return said
