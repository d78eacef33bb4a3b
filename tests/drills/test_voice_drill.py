"""A voice whose first samples come late, on a running system: real speech, real listeners' waiting, a rollback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from contracts.bundle import Golden, GoldenFixture
from contracts.policy import FamilyPolicy
from serving.client import RunningGateway, start_gateway
from serving.telemetry import read
from serving.traffic import play
from speech.third_party_voices import main as make_voice
from tests.drills.drill import Drill, Scenario, scenarios
from tests.operations.gated_releases import FAMILY
from tests.operations.packaged import Packaged
from tests.registry.registry_parts import read_folder, registry_entry

pytestmark = pytest.mark.timeout(900)  # a canary's deadline, twice, on a machine that may be busy

SCENARIO = scenarios()["11-late-first-audio"]
TEXTS = (
    "Your train leaves at nine.",
    "Good morning. How can I help?",
    "The library is closed today. It opens again on Monday, at ten.",
)


class VoiceDrill(Drill):
    """The same, of a family that speaks: two bundles of one voice, and texts instead of recordings."""

    def __init__(self, root: Path, scenario: Scenario) -> None:
        self._voice = root / "voice"
        make_voice(["v2", "--out", str(self._voice)])
        super().__init__(root / "project", scenario)
        self.pack = pd.DataFrame({"path": "", "text": TEXTS})

    def _package(self, version: str, _runtime: dict[str, Any]) -> Packaged:
        golden = Golden(
            max_word_edits=0, fixtures=(GoldenFixture(fixture_id="one", audio="", text="", prompt=TEXTS[0]),)
        )
        return Packaged(
            self.context, self.family.root / "made" / version, version, weights=version.encode(),
            payload=read_folder(self._voice / "payload"), more={"golden/golden.json": golden.canonical()},
            entry=registry_entry(version).canonical(),
        )  # fmt: skip

    @contextmanager
    def gateway(self) -> Iterator[RunningGateway]:
        """The production gateway with its own workers."""
        options = ("--plant", str(self.family.root / "faults.yaml"))
        with start_gateway(self.family.home, families=(FAMILY,), options=options) as gateway:
            yield gateway

    def policy(self) -> FamilyPolicy:
        return super().policy().model_copy(update={"task": "synthesis"})

    def _play(self, url: str) -> None:
        self.summary = play(
            url, family=FAMILY, utterances=self.pack, root=self.family.root, api_key=self.family.api_key,
            task="synthesis", probe=False, concurrency=4, seed=11, stop=self._over,
        )  # fmt: skip


def test_a_voice_that_begins_late_is_rolled_back(tmp_path: Path) -> None:
    drill = VoiceDrill(tmp_path, SCENARIO)
    report = drill.canary()
    said = report.verdict.reasons
    assert report.decision == SCENARIO.expect.decision, said
    worse = {(row.slice, row.metric) for row in report.stages[-1].evidence if row.state == "worse"}
    assert worse == {("overall", SCENARIO.expect.metric)}, said
    drill.nobody_noticed()
    rows = read(drill.family.home / "telemetry", FAMILY).dropna(subset=["first_audio_ms"])
    late = rows[rows["bundle"] == drill.candidate.bundle]["first_audio_ms"].quantile(0.9)
    promised_ms = SCENARIO.metrics[SCENARIO.expect.metric].budget
    assert promised_ms is not None
    assert late > promised_ms > rows[rows["bundle"] == drill.stable]["first_audio_ms"].median()
