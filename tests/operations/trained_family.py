"""A family whose bundles hold trained models, at the cost of a second each: real payloads, real fixtures, real scores.

The candidates are those that training made (`make train`), the pack is every so many utterances of `commands`. The
release around a bundle is that of `TinyFamily`: signed and whole, its gates and its canary made up.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from contracts.bundle import Golden, GoldenFixture, payload_digest
from contracts.digest import sha256_bytes
from contracts.reports import ScoreReport
from contracts.train_manifest import FileEntry
from evalpacks.metrics import Outputs
from evalpacks.pack import Pack, load
from evalpacks.scoring import score_report
from speech.run import run_pack
from speech.runtimes import Samples
from speech.runtimes import load as load_engine
from tests.flows.release_project import part_of_pack
from tests.operations.gated_releases import FAMILY
from tests.operations.packaged import Packaged
from tests.operations.tiny_family import REPOSITORY, TinyFamily
from tests.registry.registry_parts import read_folder, registry_entry

EVERY = 18
"""One utterance in so many of the pack is kept."""
FIXTURES = 6


class TrainedFamily(TinyFamily):
    """A project folder with the family `FAMILY`, a part of its pack, and bundles of its trained candidates."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        shutil.copyfile(REPOSITORY / "requirements.lock", root / "requirements.lock")
        part_of_pack(REPOSITORY / "data" / "packs" / "commands", root / "data" / "packs" / "commands", EVERY)
        self.pack: Pack = load(self.context.settings.pack("commands"))

    def release(self, candidate: str) -> Packaged:
        """Package and promote a trained candidate with what it really says to the pack."""
        packaged = self.trained(candidate)
        packaged.promote()
        self.bundles[candidate] = packaged.bundle
        return packaged

    def trained(self, candidate: str, **golden: str) -> Packaged:
        """Package a trained candidate; `golden`: fixture -> what it is declared to say instead of what it says."""
        folder = REPOSITORY / "candidates" / FAMILY / candidate / "payload"
        payload = read_folder(folder)
        heard = run_pack(load_engine(folder), self.pack.utterances, self.pack.root)
        more = self._golden(heard, golden) | {"reports/quality.json": self._scored(candidate, payload, heard)}
        return Packaged(
            self.context, self.root / "made" / candidate, candidate, payload=payload, more=more,
            entry=registry_entry(candidate).canonical(),
        )  # fmt: skip

    def _golden(self, heard: pd.DataFrame, declared: dict[str, str]) -> dict[str, bytes]:
        chosen = heard.join(self.pack.utterances["path"]).head(FIXTURES)
        fixtures = tuple(
            GoldenFixture(fixture_id=name, audio=f"{name}.wav", text=declared.get(name, str(text)))
            for name, text in zip(chosen["utterance_id"], chosen["text"], strict=True)
        )
        audio = {
            f"golden/{one.audio}": (self.pack.root / str(path)).read_bytes()
            for one, path in zip(fixtures, chosen["path"], strict=True)
        }
        return {**audio, "golden/golden.json": Golden(max_word_edits=0, fixtures=fixtures).canonical()}

    def _scored(self, version: str, payload: dict[str, bytes], heard: pd.DataFrame) -> bytes:
        files = {path: FileEntry(sha256=sha256_bytes(data), size=len(data)) for path, data in payload.items()}
        report: ScoreReport = score_report(
            family=FAMILY, version=version, payload_digest=payload_digest(files), stable_payload=None,
            packs=[self.pack], candidate={self.pack.name: Outputs(heard)}, stable=None,
            policy=self.context.settings.policy(FAMILY),
        )  # fmt: skip
        return report.canonical()


def processed(pack: Pack, folder: Path, change: Callable[[Samples], Samples]) -> pd.DataFrame:
    """The pack's utterances, for whom there is other audio below `folder`: what `change` makes of the samples."""
    import soundfile

    (folder / "audio").mkdir(parents=True)
    for path in pack.utterances["path"]:
        samples, rate_hz = soundfile.read(pack.root / str(path), dtype="float32")
        soundfile.write(folder / str(path), change(samples), rate_hz, subtype="PCM_16")
    return pack.utterances
