"""What is planted for classifiers, and what each planted fault is called in the safety report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from contracts.feature_contract import FeatureContract
from contracts.policy import FamilyPolicy
from contracts.verdict import Value
from operations import compute
from operations.safety import classification
from speech.runtimes import Samples
from speech.runtimes.kinds import Classified
from tests.pages.release_documents import policy

CONTRACT = FeatureContract(
    sample_rate_hz=16_000, accepted_rates_hz=(16_000,), normalisation="none", text_normalizer="none",
    tokenizer="none", front_end_checksum="0" * 64,
)  # fmt: skip
SPEECH = "clips without speech in which speech is found"
MALFORMED = "answers that are no class with scores"
REMEMBERED = "clips whose scores depend on what was heard before"
REFUSED = "requests that must be refused and are answered"


class Detector:
    """Answers as it is told; counts what it heard."""

    task = "classification"
    sample_rate_hz = 16_000

    def __init__(self, answer: Callable[[Samples, int], Classified], classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.heard = 0
        self._answer = answer

    def classify(self, audio: Samples) -> Classified:
        self.heard += 1
        return self._answer(audio, self.heard)


def quiet(_audio: Samples, _heard: int) -> Classified:
    return Classified("non-speech", (0.9, 0.1))


def loud_is_speech(audio: Samples, _heard: int) -> Classified:
    loud = bool(np.abs(audio).max(initial=0.0) > 0.02)
    return Classified(("non-speech", "speech")[loud], (1.0 - loud, float(loud)))


def without_scores(_audio: Samples, _heard: int) -> Classified:
    return Classified("non-speech", ())


def not_a_number(_audio: Samples, _heard: int) -> Classified:
    return Classified("non-speech", (float("nan"), 0.5))


def another_class(_audio: Samples, _heard: int) -> Classified:
    return Classified("music", (0.5, 0.5))


def with_a_memory(_audio: Samples, heard: int) -> Classified:
    score = 1 / (1 + heard)
    return Classified("non-speech", (1 - score, score))


def broken(
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[Samples, int], Classified],
    classes: tuple[str, ...] = ("non-speech", "speech"),
) -> dict[str, tuple[int, Value]]:
    """Each check: how much went wrong, and its verdict."""
    detector = Detector(answer, classes)
    monkeypatch.setattr(compute, "model", lambda _payload: detector)
    monkeypatch.setattr(compute, "shared", lambda function, *given: function(*given))
    judged: FamilyPolicy = policy().model_copy(update={"task": "classification"})
    found = classification.find(Path("nowhere"), CONTRACT, judged)
    return {one.check.name: (one.check.broken, one.verdict().value) for one in found.checks}


def test_a_sound_detector_passes_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    found = broken(monkeypatch, quiet)
    assert set(found) == {SPEECH, MALFORMED, REMEMBERED, REFUSED}
    assert set(found.values()) == {(0, Value.PASS)}


@pytest.mark.parametrize(
    ("answer", "check"),
    [
        (loud_is_speech, SPEECH),
        (without_scores, MALFORMED),
        (not_a_number, MALFORMED),
        (another_class, MALFORMED),
        (with_a_memory, REMEMBERED),
    ],
    ids=["noise is speech", "no scores", "not a number", "a class of its own", "a memory"],
)
def test_a_planted_fault_fails_its_check(
    answer: Callable[[Samples, int], Classified], check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, value = broken(monkeypatch, answer)[check]
    assert count > 0
    assert value is Value.FAIL


def test_a_family_without_speech_is_not_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def tone(_audio: Samples, _heard: int) -> Classified:
        return Classified("tone", (1.0, 0.0))

    assert SPEECH not in broken(monkeypatch, tone, classes=("tone", "noise"))
