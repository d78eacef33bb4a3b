"""Stable over its packs again by its own payload: what is heard, what is compared, what is left behind."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.verdict import Value
from evalpacks.pack import load
from operations import drift_scores, shards
from operations.drift_scores import Stable
from tests.operations.test_score import STREAMED, Scene, in_this_process

__all__ = ["in_this_process"]
PAYLOAD = "new"


class Again:
    """A release that was scored, and its payload over the pack again; `rows`: how many were heard, by mode."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, metrics: tuple[str, ...]) -> None:
        self.scene = Scene(root, metrics=metrics)
        self.rows = {"batch": 0, "stream": 0}
        released, _ = self.scene.score(self.scene.captured(PAYLOAD))
        manifest: Any = SimpleNamespace(payload_digest=released.payload_digest)
        packs = [load(self.scene.context.settings.pack("tiny"))]
        self.stable = Stable("b" * 64, manifest, released, packs)
        monkeypatch.setattr(drift_scores, "materialise", lambda *_: None)
        monkeypatch.setattr(shards, "here", self._here)

    def _here(self, settings: Any) -> shards.RunShards:
        def run(name: str, pieces: Any) -> Any:
            for piece in pieces:
                self.rows[piece.mode] += len(piece.rows)
                yield shards.hear(settings, name, piece)

        return run

    def rescore(self) -> Any:
        return drift_scores.rescore(self.scene.context, self.stable.released.family, self.stable)


@pytest.mark.parametrize(
    ("metrics", "streamed"), [(("wer",), 0), (("wer", "churn"), STREAMED)], ids=["whole", "streams, too"]
)
def test_it_is_heard_as_at_its_release_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metrics: tuple[str, ...], streamed: int
) -> None:
    again = Again(tmp_path, monkeypatch, metrics)
    for _ in range(2):  # what was heard before is not used
        again.rows = {"batch": 0, "stream": 0}
        found = again.rescore()
        assert again.rows == {"batch": 24, "stream": streamed}
    assert [one.metric for one in found.scores] == list(metrics)
    assert {one.same for one in found.scores} == {True}
    assert found.verdict.value == Value.PASS
    assert not (again.scene.context.home / "shards" / f"drift-{again.stable.bundle}").exists()


def test_the_report_has_both_counts_of_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = Again(tmp_path, monkeypatch, ("wer", "churn"))
    found = drift_scores.report("f", again.stable, again.rescore())
    assert list(found.released) == ["tiny/wer/overall", "tiny/churn/overall"]
    assert found.measured == found.released
    assert found.bundle == again.stable.bundle
