"""Users who switch languages within a sentence correct a candidate more, though its WER is better: a partial rollback.

Labelled probes are English alone, as an eval pack may be. Beside them users speak one language or two, and correct what
is not what they said: the harm shows in what clients tell, and nowhere else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest

from serving.telemetry import read
from serving.traffic import Habits, Session, sessions, utterances_of
from tests.drills.drill import KINDS, SOUNDS, SPANISH, Drill, Scenario, scenarios, worse_slices, write_utterance
from tests.drills.visitors import correcting, play_visits
from tests.operations.gated_releases import FAMILY

pytestmark = pytest.mark.timeout(900)  # a canary's deadline, twice, on a machine that may be busy

SCENARIO = scenarios()["15-code-switching-corrections"]
MIXED: str = SCENARIO.traffic["language"]
USERS = 6
THINK_S = 0.15


class CodeSwitchingDrill(Drill):
    """The same, with users beside the probes; `asked` is how many requests they made."""

    def __init__(self, root: Path, scenario: Scenario) -> None:
        super().__init__(root, scenario)
        there, home = SOUNDS.index(SPANISH), range(len(KINDS))
        self._mixed = pd.DataFrame(
            [write_utterance(root / f"mixed-{number}.wav", [number, there, number]) for number in home]
        )
        self.asked = 0

    def _play(self, url: str) -> None:
        users = threading.Thread(target=self._visit, args=(url,))
        users.start()
        super()._play(url)
        users.join()

    def _visit(self, url: str) -> None:
        self.asked = play_visits(
            url, self._visitors(), correcting(SCENARIO.traffic["corrected"], think_s=THINK_S), family=FAMILY,
            api_key=self.family.api_key, concurrency=USERS, stop=self._over,
        )  # fmt: skip

    def _visitors(self) -> Iterator[Session]:
        """By turns somebody who speaks English, and somebody who switches."""
        spoken = ((self.pack, "en"), (self._mixed, MIXED))
        drawn = [
            sessions(utterances_of(table, self.family.root), seed=seed, habits=Habits(languages=(language,)))
            for seed, (table, language) in enumerate(spoken)
        ]
        return chain.from_iterable(zip(*drawn, strict=True))


def test_corrections_of_users_who_switch_languages_take_their_turns_back(tmp_path: Path) -> None:
    drill = CodeSwitchingDrill(tmp_path / "project", SCENARIO)
    report = drill.canary()
    said, expected = report.verdict.reasons, SCENARIO.expect
    assert report.decision == expected.decision, said
    evidence = report.stages[-1].evidence
    assert worse_slices(evidence, expected.metric) == set(expected.slices), said
    assert drill.routed_back() == expected.slices
    assert {row.state for row in evidence if row.slice == expected.within} == {"fine"}, said
    drill.nobody_noticed()
    assert drill.asked > 100
    rows = read(drill.family.home / "telemetry", FAMILY)
    probes = rows[rows["probe"] == "yes"].groupby("arm")[["errors", "words"]].sum()
    assert set(rows.loc[rows["probe"] == "yes", "language"]) == {"en"}
    wer = probes["errors"] / probes["words"]
    assert wer["canary"] == 0.0 < wer["stable"], "by its labelled probes the candidate is the better one"
