"""What is planted for models that make voiceprints: clips in which nobody speaks, requests that must be refused.

Boundary: as operations/safety/__init__.py.
Invariants: as there; a voiceprint of noise is like anybody's, so that a clip without speech should be refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from contracts.errors import Refused
from contracts.feature_contract import FeatureContract
from contracts.policy import FamilyPolicy
from contracts.reports import SafetyCheck
from operations import compute
from operations.safety import Budgeted, Findings
from operations.safety.transcription import CLIPS, refused

if TYPE_CHECKING:
    from speech.runtimes import Samples
    from speech.runtimes.kinds import Embedder


def find(payload: Path, contract: FeatureContract, policy: FamilyPolicy) -> Findings:
    """Ask for voiceprints of clips without speech, and send the requests that must be refused."""
    from speech.noise import non_speech_clips

    clips = non_speech_clips(policy.statistics.seed, CLIPS, contract.sample_rate_hz)
    name, answered = "clips without speech that get a voiceprint", compute.shared(_answered, payload, clips)
    checks = (
        Budgeted(
            SafetyCheck(name=name, planted=len(clips), broken=answered),
            policy.safety.max_hallucinating_clips * len(clips),
        ),
        refused(contract, policy.safety.max_answered_refusals),
    )
    return Findings(checks=checks)


def _answered(payload: Path, clips: Sequence[Samples]) -> int:
    """Of how many clips the model makes a vector."""
    model, answered = cast("Embedder", compute.model(payload)), 0
    for clip in clips:
        with suppress(Refused):
            model.embed(clip)
            answered += 1
    return answered
