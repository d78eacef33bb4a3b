"""What a probe of a family of embeddings comes to, and what is planted for its safety report."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.bundle import GoldenAnswer
from contracts.feature_contract import FeatureContract
from operations import compute
from operations.migration.probing import speakers_not_found
from operations.safety import embedding
from serving.asking import Asked
from serving.traffic import Utterance
from tests.operations.gated_releases import FAMILY
from tests.operations.voices_world import NEW, OLD, Voices, voice
from tests.speech.speaker_samples import random_payload


def asked(utterance: str, space: str, vector: object) -> Asked:
    return Asked(
        answer=GoldenAnswer(label=space, vector=tuple(float(value) for value in vector)),  # type: ignore[attr-defined]
        bundle="1" * 64, bundles=frozenset({"1" * 64}), request_id=utterance, latency_ms=1.0,
    )  # fmt: skip


def probe(speaker: str, role: str = "probe") -> Utterance:
    return Utterance(Path(f"{speaker}.wav"), "hello", {}, {"speaker": speaker, "role": role})


@pytest.fixture
def voices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Voices:
    made = Voices(tmp_path / "project", monkeypatch)
    made.add("v1", OLD)
    made.migrate("v1")
    return made


def test_a_probe_counts_whether_its_speaker_is_among_the_best(voices: Voices) -> None:
    count = speakers_not_found(voices.context, FAMILY)
    own = asked("s03-4", OLD.name, voice("s03-4", OLD))
    opposite = asked("s03-4", OLD.name, -voice("s03-4", OLD))
    assert count(probe("s03"), own) == (0, 1)
    assert count(probe("s03"), opposite) == (1, 1)


def test_a_probe_says_nothing_where_its_space_has_no_index_or_it_enrolled_its_speaker(voices: Voices) -> None:
    count = speakers_not_found(voices.context, FAMILY)
    assert count(probe("s03"), asked("s03-4", NEW.name, voice("s03-4", NEW))) is None
    assert count(probe("s03", "enrolment"), asked("s03-0", OLD.name, voice("s03-0", OLD))) is None


def test_voiceprints_of_nobody_are_counted_and_held_to_their_budget(
    voices: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = random_payload(tmp_path / "payload", dimension=4)
    contract = FeatureContract.parse((payload / "feature_contract.json").read_bytes())
    monkeypatch.setattr(compute, "shared", lambda function, *arguments: function(*arguments))
    policy = voices.context.settings.policy(FAMILY)
    nobody, refused = embedding.find(payload, contract, policy).checks
    assert nobody.check.name == "clips without speech that get a voiceprint"
    assert nobody.check.planted == 40
    assert 10 < nobody.check.broken < 40
    assert nobody.budget == pytest.approx(policy.safety.max_hallucinating_clips * 40)
    assert (refused.check.planted, refused.check.broken) == (8, 0)
