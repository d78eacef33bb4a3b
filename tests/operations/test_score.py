"""The score step over its arms: candidate, stable, and the model that a quantized candidate was made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.bundle import BundleManifest, payload_digest
from contracts.digest import Digest
from contracts.errors import Refused
from contracts.policy import FamilyPolicy
from contracts.reports import SafetyReport, ScoreReport, TimingReport
from contracts.train_manifest import FileEntry, TrainManifest
from contracts.verdict import Value, Verdict
from operations import compute, shards
from operations import score as score_module
from operations.candidate import Candidate
from operations.context import Context, put
from operations.score import score
from operations.settings import Settings
from operations.shards import Shard
from registry.documents import get_document
from registry.store import open_store
from tests.operations.shard_parts import CountingRuntime, make_pack, payload_files

REPOSITORY = Path(__file__).resolve().parents[2]
FAMILY = "asr-commands"
RELEASE = "1" * 64
STREAMED = 5
TIMED = 4
BATCH_ONLY = "batch-only"
"""A payload whose engine does not stream."""
GATE = {"pack": "tiny", "slices": "overall", "margin": 1.0, "limit": 9.0, "min_speakers": 1, "min_support": 1}


class Scene:
    """An installation in which bundles were packaged and a candidate was captured; models run in this process."""

    def __init__(self, root: Path, *, metrics: Sequence[str] = ("wer", "churn")) -> None:
        params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
        family = params["families"][FAMILY]
        family["quality"] = [{**GATE, "metric": metric} for metric in metrics]
        family["statistics"] = {"replicates": 50, "stream_utterances": STREAMED, "timed_utterances": TIMED}
        family["quantization"] = {"margin": 1.0}
        params["compute"] = {"shard": 7}
        (root / "params.yaml").write_text(yaml.safe_dump(params))
        (root / "requirements.lock").write_text("numpy==2\n")
        settings = Settings(root, root / "home")
        make_pack(settings.pack("tiny"))
        store = open_store(settings.store.url, settings.home)
        self.context = Context(settings, store, lambda: datetime(2026, 1, 1, tzinfo=UTC))
        self.heard: list[Shard] = []

    def _files(self, payload: str) -> dict[str, FileEntry]:
        content, files = payload_files(payload)
        self.context.store.put_blob(content)
        return files

    def packaged(self, version: str, payload: str) -> Digest:
        """A bundle of one payload file, packaged."""
        files = self._files(payload)
        manifest = BundleManifest(
            family=FAMILY, version=version, payload_digest=payload_digest(files),
            files={f"payload/{path}": entry for path, entry in files.items()},
        )  # fmt: skip
        return self.event("package", put(self.context, manifest)[0], version=version)

    def event(self, step: str, bundle: Digest, **data: str) -> Digest:
        """A complete event about a bundle."""
        at = self.context.timestamp()
        self.context.ledger(FAMILY).append(step, "complete", at=at, outputs={"bundle": bundle}, data=data)
        return bundle

    def captured(self, payload: str, *, quantized_from: str | None = None) -> dict[str, Digest]:
        """What the capture step leaves for a candidate."""
        files = self._files(payload)
        manifest = TrainManifest(
            family=FAMILY, version="v9", origin="own", training_code_sha="", dirty=False, data=None,
            hyperparameters={}, seeds={}, base_model="", dependency_lock="0" * 64, dvc_lock=None, params="0" * 64,
            payload=files, payload_digest=payload_digest(files), leakage="none found",
        )  # fmt: skip
        candidate = Candidate(
            family=FAMILY, version="v9", origin="own", base_model="", licence="", languages=("en",),
            training_code_sha="", provenance={"quantized_from": quantized_from} if quantized_from else {},
        )  # fmt: skip
        documents = put(self.context, manifest, candidate, self.policy)
        return dict(zip(("train_manifest", "candidate", "policy"), documents, strict=True)) | {"release": RELEASE}

    @property
    def policy(self) -> FamilyPolicy:
        """The family's policy."""
        return self.context.settings.policy(FAMILY)

    def score(self, captured: dict[str, Digest]) -> tuple[ScoreReport, TimingReport]:
        """Run the step; its two reports."""

        def run(name: str, pieces: Sequence[Shard]) -> Iterator[Digest]:
            for piece in pieces:
                self.heard.append(piece)
                yield shards.hear(self.context.settings, name, piece)

        outputs = score(self.context, FAMILY, captured, run)
        store = self.context.store
        report = get_document(store, ScoreReport, outputs["score_report"])
        return report, get_document(store, TimingReport, outputs["timing_report"])

    def rows(self, mode: str, payload: str) -> int:
        """Rows that a payload was planned to hear."""
        digest = payload_digest(self._files(payload))
        return sum(len(shard.rows) for shard in self.heard if (shard.mode, shard.payload) == (mode, digest))


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that count, and no other processes; the safety report has tests of its own."""

    def runtime(folder: Path) -> CountingRuntime:
        return CountingRuntime(streaming=BATCH_ONLY not in (folder / "runtime.json").read_text())

    def call(function: Any, *args: Any) -> Any:
        return function(*args)

    def safety(_context: Context, manifest: TrainManifest, _payload: Path, policy: FamilyPolicy) -> SafetyReport:
        return SafetyReport(
            family=policy.family, version=manifest.version, payload_digest=manifest.payload_digest, clips=1,
            hallucinated_words=0, clips_with_words=0, redaction_planted=1, redaction_leaked=0,
            verdict=Verdict(value=Value.PASS, reasons=("fine",)),
        )  # fmt: skip

    monkeypatch.setattr(compute, "model", runtime)
    monkeypatch.setattr(compute, "shared", call)
    monkeypatch.setattr(compute, "alone", call)
    monkeypatch.setattr(score_module, "safety_report", safety)


def test_a_first_release_is_heard_whole_and_streamed_in_part(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    report, timing = scene.score(scene.captured("new"))
    assert (scene.rows("batch", "new"), scene.rows("stream", "new")) == (24, STREAMED)
    assert (report.stable_payload, report.quantized_from) == (None, None)
    assert {row.metric: row.stable for row in report.comparisons} == {"wer": None, "churn": None}
    assert (timing.utterances, timing.stable_rtf, timing.stable_peak_memory_mb) == (TIMED, None, None)


def test_candidate_and_stable_hear_the_same_rows(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    stable = scene.event("promote", scene.packaged("v1", "old"))
    captured = scene.captured("new")
    report, timing = scene.score(captured)
    for mode, rows in (("batch", 24), ("stream", STREAMED)):
        assert scene.rows(mode, "new") == scene.rows(mode, "old") == rows
    assert all(row.stable is not None and row.baseline == "stable" for row in report.comparisons)
    for name in ("final_ms", "first_partial_ms", "first_stable_ms", "peak_memory_mb", "cost_usd_per_audio_hour", "rtf"):
        assert getattr(timing, f"stable_{name}") is not None
    (event,) = [event for event in scene.context.ledger(FAMILY).events() if event.step == "score"]
    assert (event.inputs["stable"], event.release) == (stable, RELEASE)


def test_the_same_payload_as_stable_is_heard_once(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.event("promote", scene.packaged("v1", "same"))
    scene.score(scene.captured("same"))
    assert scene.rows("batch", "same") == 24


def test_a_step_in_the_ledger_hears_nothing_and_leaves_no_text(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    captured = scene.captured("new")
    first = scene.score(captured)
    left = scene.context.home / "shards" / RELEASE
    left.mkdir(parents=True)  # as after a kill between the ledger's event and the clean-up
    count = len(scene.heard)
    assert scene.score(captured) == first
    assert len(scene.heard) == count
    assert not left.exists()


@pytest.mark.parametrize(
    ("metrics", "payload", "rows"),
    [(("wer",), "new", 0), (("wer", "churn"), BATCH_ONLY, 0), (("wer", "early_endpoint_rate"), "new", STREAMED)],
    ids=["no gate asks for streams", "the engine does not stream", "an endpoint gate asks"],
)
def test_only_what_is_asked_and_can_be_is_streamed(
    tmp_path: Path, metrics: tuple[str, ...], payload: str, rows: int
) -> None:
    scene = Scene(tmp_path, metrics=metrics)
    report, _ = scene.score(scene.captured(payload))
    assert scene.rows("stream", payload) == rows
    assert [row.metric for row in report.comparisons] == list(metrics)


def test_a_quantized_candidate_is_compared_with_its_parent_by_final_texts(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.event("promote", scene.packaged("v1", "old"))
    scene.packaged("v2", "full")
    report, _ = scene.score(scene.captured("small", quantized_from="v2"))
    assert (scene.rows("batch", "full"), scene.rows("stream", "full")) == (24, 0)
    assert {row.baseline for row in report.comparisons} == {"stable", "parent"}
    assert report.quantized_from == payload_digest(payload_files("full")[1])


def test_of_a_parent_packaged_twice_the_newest_sound_bundle_counts(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.packaged("v2", "first")
    newer = scene.packaged("v2", "second")
    scene.event("condemn", scene.packaged("v2", "broken"))
    scene.score(scene.captured("small", quantized_from="v2"))
    (event,) = [event for event in scene.context.ledger(FAMILY).events() if event.step == "score"]
    assert event.inputs["parent"] == newer


@pytest.mark.parametrize(
    ("packaged", "condemned", "expected"),
    [
        ((), (), "a version of the family that was packaged"),
        (("v1", "v3"), (), "v1 or v3"),
        (("v1", "v2"), ("v2",), "v1"),
    ],
)
def test_a_parent_that_was_never_packaged_is_refused(
    tmp_path: Path, packaged: tuple[str, ...], condemned: tuple[str, ...], expected: str
) -> None:
    scene = Scene(tmp_path)
    bundles = {version: scene.packaged(version, version) for version in packaged}
    for version in condemned:
        scene.event("condemn", bundles[version])
    with pytest.raises(Refused) as refused:
        scene.score(scene.captured("small", quantized_from="v2"))
    assert refused.value.what == "the model that the candidate was quantized from was never packaged"
    assert refused.value.where == f"{FAMILY}, provenance.quantized_from in candidate.yaml"
    assert (refused.value.got, refused.value.expected) == ("v2", expected)
    assert refused.value.next_step == f"soundcheck release {FAMILY} --candidate v2, then this candidate again"
    assert scene.heard == []
