"""A family of embeddings without a model: bundles of two vector spaces, and people whose voices are drawn."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contracts.digest import Digest
from contracts.feature_contract import FeatureContract
from contracts.migration import Backfill, MigrationPlan, Reindex, Rollback, Shim, Space
from evalpacks import pack
from evalpacks.pack import Pack, PackMeta
from operations.context import put
from operations.migration import moving, voiceprints
from registry.vector_index import Vector
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import TinyFamily
from tests.serving.conftest import CONTRACT

OLD, NEW = Space(name="wide-12", dimension=12), Space(name="narrow-8", dimension=8)
SPEAKERS = 12
PROBES = 3


def contract_of(space: Space) -> FeatureContract:
    return CONTRACT.model_copy(update={"space": space.name, "dimension": space.dimension})


def plan(**changes: Any) -> MigrationPlan:
    usual: dict[str, Any] = {
        "source": OLD, "target": NEW, "dual_write": True, "reindex": Reindex(batch=5, max_recall_loss=0.05),
        "backfill": Backfill(pack="voices"), "shim": Shim(max_recall_loss=0.2),
        "rollback": Rollback(keep_old_index_days=30),
    }  # fmt: skip
    return MigrationPlan(**usual | changes)


def make_pack() -> Pack:
    """Every speaker enrolled twice and tried three times; no recording is ever opened."""
    rows = [
        {
            "utterance_id": f"s{who:02d}-{number}",
            "speaker": f"s{who:02d}",
            "role": "enrolment" if number < 2 else "probe",
        }
        for who in range(SPEAKERS)
        for number in range(2 + PROBES)
    ]
    table = pd.DataFrame(rows).assign(
        path=[f"audio/{row['utterance_id']}.wav" for row in rows], text="hello", duration_s=1.0, sample_rate_hz=16_000,
        sha256="0" * 64, language="en",
    )  # fmt: skip
    meta = PackMeta(
        name="voices", title="Voices", source="drawn", licence="CC0-1.0", consent="not needed",
        languages=("en",), sample_rate_hz=(16_000,),
    )  # fmt: skip
    return pack.assemble(Path("voices"), meta, table, has_audio=lambda _path: True)


def voice(utterance: str, space: Space, *, noise: float = 0.2) -> Vector:
    """The vector of an utterance `SPEAKER-NUMBER`: its speaker's direction and some of its own; NEW is seen through a
    linear map of OLD."""
    who = np.random.default_rng(zlib.crc32(utterance.partition("-")[0].encode())).standard_normal(OLD.dimension)
    heard = who + noise * np.random.default_rng(zlib.crc32(utterance.encode())).standard_normal(OLD.dimension)
    through = np.random.default_rng(7).standard_normal((NEW.dimension, OLD.dimension))
    vector = heard if space == OLD else through @ heard
    unit: Vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit


class Voices(TinyFamily):
    """Bundles by version; `noise` is what the models of NEW hear beside the voice, `asked` what was embedded.

    `dies_after`: so many utterances are embedded, then the process is gone.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(root)
        self.noise, self.dies_after = 0.2, 10**6
        self.asked: list[tuple[str, str]] = []
        self.spaces: dict[Digest, Space] = {}
        self.pack = make_pack()
        monkeypatch.setattr(moving, "built", lambda _context, _name: self.pack)
        monkeypatch.setattr(moving, "required_packs", lambda _context, _family: [self.pack])
        monkeypatch.setattr(voiceprints, "embedded", self._embedded)
        monkeypatch.setattr(voiceprints, "vector_of", self._vector_of)

    def add(self, version: str, space: Space, *, promote: bool = True) -> Digest:
        """A bundle of a space, promoted."""
        made = self.package(version, version, payload={"feature_contract.json": contract_of(space).canonical()})
        self.bundles[version], self.spaces[made.bundle] = made.bundle, space
        if promote:
            made.promote()
        return made.bundle

    def migrate(self, version: str, migration: MigrationPlan | None = None) -> dict[str, Digest]:
        """The step `migrate` of a release of a bundle."""
        policy = self.context.settings.policy(FAMILY).model_copy(update={"task": "embedding"})
        (captured,) = put(self.context, policy)
        given = {"policy": captured, "release": "c" * 64}
        if migration is not None:
            (given["migration_plan"],) = put(self.context, migration)
        return moving.migrate(self.context, FAMILY, given, {"bundle": self.bundles[version]})

    def _hear(self, bundle: Digest, utterance: str) -> Vector:
        if len(self.asked) >= self.dies_after:
            raise KeyboardInterrupt
        space = self.spaces[bundle]
        self.asked.append((space.name, utterance))
        return voice(utterance, space, noise=self.noise if space == NEW else 0.2)

    def _embedded(self, _context: object, bundle: Digest, utterances: pd.DataFrame, _root: Path) -> Vector:
        return np.stack([self._hear(bundle, name) for name in utterances["utterance_id"]])

    def _vector_of(self, _context: object, bundle: Digest, recording: Path) -> Vector:
        return self._hear(bundle, recording.stem)


def recordings(who: str, numbers: Sequence[int]) -> list[Path]:
    """Paths that stand for recordings of somebody."""
    return [Path(f"{who}-{number}.wav") for number in numbers]
