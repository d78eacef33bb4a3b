"""A family on disk whose bundles run the tests' engine: promoted with evidence, signatures and golden fixtures.

Every document behind a bundle is there and signed, so that verify, rollback and steering find nothing wrong; the models
say one word each. A gateway over it is `tests/serving/tiny_gateway.py`.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contracts.bundle import Golden, GoldenFixture
from contracts.digest import Digest
from operations import keys, pointer
from operations.context import Context
from operations.settings import Settings
from registry.store import open_store
from tests.operations.gated_releases import FAMILY
from tests.operations.packaged import Packaged
from tests.registry.registry_parts import registry_entry
from tests.serving.conftest import CONTRACT, silence, wav

REPOSITORY = Path(__file__).resolve().parents[2]
GATEWAY = (sys.executable, str(REPOSITORY / "tests" / "serving" / "tiny_gateway.py"))
OPERATOR = "bert"
CLIP = wav(silence(1.0))
"""What each bundle says its word twice to."""


class TinyFamily:
    """A project folder with the family `FAMILY`; `bundles` by version, in the order of their promotion."""

    def __init__(self, root: Path) -> None:
        self.root, self.home = root, root / ".soundcheck"
        self.home.mkdir(parents=True)
        shutil.copyfile(REPOSITORY / "params.yaml", root / "params.yaml")
        store = open_store("file://store", self.home)
        self.context = Context(Settings(root, self.home), store, lambda: datetime.now(UTC))
        keys.builder(self.context)
        for name, role in (("anna", "approver"), (OPERATOR, "operator")):
            keys.new(self.context, name, (role,))
        self.api_key = keys.ensure_api_key(self.home, "tests")
        self.bundles: dict[str, Digest] = {}

    def promote(self, version: str, word: str, *, weights: int = 100) -> Digest:
        """Package and promote a bundle that says `word`; the one before it stays warm."""
        packaged = self.package(version, word, weights=weights)
        packaged.promote()
        self.bundles[version] = packaged.bundle
        self.keep_warm(tuple(self.bundles.values())[:-1])
        return packaged.bundle

    def package(
        self, version: str, words: str, *, weights: int = 100, runtime: Mapping[str, Any] | None = None,
        payload: Mapping[str, bytes] | None = None,
    ) -> Packaged:  # fmt: skip
        """Package a bundle that says these words, or as `runtime` has it; `payload` are files over its own."""
        engine: dict[str, Any] = {
            "engine": "tiny",
            "words": words.split(),
            "marker": str(self.root / f"{version}.crashed"),
        }
        engine |= runtime or {}
        first, second, *_ = [engine["words"][0]] * 2 if engine.get("by_level") else engine["words"] * 2
        fixture = GoldenFixture(fixture_id="one", audio="one.wav", text=f"{first} {second}")
        own = {
            "runtime.json": json.dumps(engine).encode(),
            "feature_contract.json": CONTRACT.canonical(),
        }
        return Packaged(
            self.context, self.root / "made" / version, version, weights=words.encode() * weights,
            payload=own | dict(payload or {}),
            more={
                "golden/one.wav": CLIP,
                "golden/golden.json": Golden(max_word_edits=0, fixtures=(fixture,)).canonical(),
            },
            entry=registry_entry(version).canonical(),
        )  # fmt: skip

    def keep_warm(self, warm: tuple[Digest, ...]) -> None:
        """A next table, which keeps these bundles warm."""
        seen = pointer.current(self.context, FAMILY)
        pointer.move(self.context, FAMILY, seen, stable=seen.stable, warm=warm, actor="anna", reason="warm")
