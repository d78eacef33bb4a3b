"""A release up to its gates and beyond, without a model: outputs are made up, everything after them is the product's.

The ledger, the store and the keys are real (the store in memory, the keys below the folder that is handed in).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from contracts.approval import Evidence
from contracts.digest import Digest
from contracts.policy import FamilyPolicy
from contracts.reports import Quantiles, SafetyReport, TimingReport
from contracts.train_manifest import TrainManifest
from contracts.verdict import Value, Verdict
from evalpacks.metrics import Outputs
from evalpacks.scoring import score_report
from operations import gate as gates
from operations import keys
from operations.capture import release_id
from operations.context import Context, put
from operations.settings import Settings
from registry.store.memory import MemoryStore
from tests.evalpacks.evaluation_samples import make_pack, make_policy, outputs

FAMILY = "asr-commands"
STABLE = "b" * 64
WELSH = {"pack": "commands", "metric": "wer", "slices": ["accent=welsh"], "margin": 0.03, "limit": 0.35,
         "min_speakers": 10, "min_support": 100}  # fmt: skip
"""A gate on a slice that the pack does not have: Inconclusive, whatever the model gives."""


def open_installation(folder: Path, store: MemoryStore | None = None) -> Context:
    """An installation with the keys of anna (approver), bert (operator), cleo (approver) and the builder."""
    clock = iter(range(10**6))
    start = datetime(2026, 11, 20, tzinfo=UTC)
    settings = Settings(folder, folder / "home")
    context = Context(settings, store or MemoryStore(), lambda: start + timedelta(seconds=next(clock)))
    keys.builder(context)
    for name, role in (("anna", "approver"), ("bert", "operator"), ("cleo", "approver")):
        keys.new(context, name, (role,))
    return context


class GatedRelease:
    """A candidate with scores and timings in the ledger, ready to be gated.

    Args:
        harm: how many more of its words are wrong than of the stable one's, on every slice.
        quality: gates over those of `make_policy`.
    """

    def __init__(self, context: Context, *, payload: str = "a" * 64, harm: float = 0.0, version: str = "v2",
                 quality: list[dict[str, Any]] | None = None, **changes: Any) -> None:  # fmt: skip
        base = make_policy(**changes)
        self.policy = base.model_copy(update={"quality": (*base.quality, *_gates(quality or []))})
        self.context, self.payload, self.version = context, payload, version
        self.announced: list[str] = []
        context.announce = self.announced.append
        manifest = _manifest(payload, version)
        policy, train, *reports = put(context, self.policy, manifest, *self._reports(harm))
        self.captured = {"policy": policy, "train_manifest": train, "payload": payload}
        self.captured["release"] = release_id(FAMILY, version, payload, policy)
        self.scored = dict(zip(("score_report", "timing_report", "safety_report"), reports, strict=True))
        self._append("capture", self.captured | {"model_card": context.store.put_blob(b"# Model card")})

    def _append(self, step: str, outputs: dict[str, Digest]) -> None:
        self.context.ledger(FAMILY).append(
            step, "complete", at=self.context.timestamp(), release=self.captured["release"],
            outputs={name: digest for name, digest in outputs.items() if name != "release"},
            data={"version": self.version},
        )  # fmt: skip

    def _reports(self, harm: float) -> list[Any]:
        pack = make_pack()
        quantiles = Quantiles(n=60, p50=100, p95=200, p99=300, maximum=400)
        score = score_report(
            family=FAMILY, version=self.version, payload_digest=self.payload, stable_payload=STABLE, packs=[pack],
            candidate={pack.name: Outputs(outputs(pack.utterances, 0.1 + harm))},
            stable={pack.name: Outputs(outputs(pack.utterances, 0.1))}, policy=self.policy,
        )  # fmt: skip
        timing = TimingReport(
            family=FAMILY, payload_digest=self.payload, stable_payload=STABLE, final_ms=quantiles,
            first_partial_ms=quantiles, stable_final_ms=quantiles, rtf=0.04, stable_rtf=0.04, peak_memory_mb=400,
            cost_usd_per_audio_hour=0.03,
        )  # fmt: skip
        safety = SafetyReport(
            family=FAMILY, version=self.version, payload_digest=self.payload, clips=24, hallucinated_words=0,
            clips_with_words=0, redaction_planted=4, redaction_leaked=0, verdict=Verdict(value=Value.PASS),
        )  # fmt: skip
        return [score, timing, safety]

    def gate(self) -> dict[str, Digest]:
        """The gate step; raises Stopped."""
        return gates.gate(self.context, FAMILY, self.captured, self.scored)

    def promote(self) -> None:
        """As if the release had gone all the way."""
        self._append("score", self.scored)
        self._append("promote", {"bundle": self.payload})

    def ask_approval(self) -> Digest:
        """Evidence with the gate report of now; its digest."""
        none = "0" * 64
        shown = Evidence(
            family=FAMILY, version=self.version, bundle=none, replay_report=none, canary_report=none,
            policy=self.captured["policy"], previous_policy=None, rollback_target=None, **self.scored, **self.gate(),
        )  # fmt: skip
        (digest,) = put(self.context, shown)
        self._append("request_approval", {"evidence": digest})
        return digest


def _gates(wanted: list[dict[str, Any]]) -> tuple[Any, ...]:
    return FamilyPolicy.model_validate(make_policy().model_dump() | {"quality": wanted}).quality


def _manifest(payload: Digest, version: str) -> TrainManifest:
    none = "0" * 64
    return TrainManifest(
        family=FAMILY, version=version, origin="own", training_code_sha="0" * 40, dirty=False, data=None,
        hyperparameters={}, seeds={}, base_model="none", dependency_lock=none, dvc_lock=None, params=none, payload={},
        payload_digest=payload, leakage="none found",
    )  # fmt: skip
