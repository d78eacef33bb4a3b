"""Copies on machines that did not do the erasing (S5): the next use takes the content out, or refuses the bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.digest import Digest
from contracts.errors import Refused
from contracts.tombstone import ABSENT
from operations.context import Context
from operations.erase import consent, erase
from operations.golden import read_golden
from operations.payload import materialise
from operations.settings import Settings
from registry.bundle import cached, verify_folder
from registry.store.keeping import tombstone_key
from registry.store.memory import FaultKind, MemoryStore
from tests.operations.gated_releases import open_installation
from tests.operations.packaged import Packaged
from tests.operations.test_erase import GOLDEN, REASON, VOICE

WEIGHTS = "payload/weights.safetensors"
OTHER_VOICE = "golden/audio/001.wav"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    opened = open_installation(tmp_path)
    (tmp_path / "params.yaml").write_text("defaults: {}\nfamilies: {asr-commands: {}}\n")
    return opened


@pytest.fixture
def packaged(context: Context, tmp_path: Path) -> Packaged:
    more = {VOICE: b"RIFF voice", OTHER_VOICE: b"RIFF other", "golden/golden.json": GOLDEN.canonical()}
    return Packaged(context, tmp_path / "v2", more=more)


@pytest.fixture
def elsewhere(context: Context, tmp_path: Path) -> Context:
    """Another machine with the same store."""
    return Context(Settings(tmp_path, tmp_path / "elsewhere"), context.store, context.now)


def _digest(packaged: Packaged, path: str) -> Digest:
    return packaged.manifest.files[path].sha256


def test_a_cached_fixture_goes_when_its_bundle_is_next_used(
    context: Context, elsewhere: Context, packaged: Packaged
) -> None:
    folder = cached(elsewhere.store, packaged.bundle, elsewhere.home / "cache")
    kept = (folder / WEIGHTS).stat().st_ino
    erase(context, _digest(packaged, VOICE), key_name="bert", reason=REASON)
    assert (folder / VOICE).read_bytes() == b"RIFF voice"
    assert cached(elsewhere.store, packaged.bundle, elsewhere.home / "cache") == folder
    assert not (folder / VOICE).exists()
    assert (folder / WEIGHTS).stat().st_ino == kept  # nothing was restored anew
    assert [fixture.fixture_id for fixture in read_golden(folder).fixtures] == ["two"]
    assert verify_folder(folder, packaged.manifest) == []
    before = (folder / ABSENT).stat().st_mtime_ns
    cached(elsewhere.store, packaged.bundle, elsewhere.home / "cache")
    assert (folder / ABSENT).stat().st_mtime_ns == before


def test_a_cached_bundle_that_runs_from_erased_content_is_refused_and_goes(
    context: Context, elsewhere: Context, packaged: Packaged
) -> None:
    folder = cached(elsewhere.store, packaged.bundle, elsewhere.home / "cache")
    payload = materialise(elsewhere, packaged.manifest)
    erase(context, _digest(packaged, WEIGHTS), key_name="bert", reason=REASON)
    said = "a bundle cannot be restored: a file that it runs from was erased"
    with pytest.raises(Refused, match=said):
        cached(elsewhere.store, packaged.bundle, elsewhere.home / "cache")
    with pytest.raises(Refused, match=said):
        materialise(elsewhere, packaged.manifest)
    assert not folder.exists()
    assert not payload.exists()


def test_while_the_store_is_away_the_copy_goes_on_and_is_asked_about_later(
    context: Context, elsewhere: Context, packaged: Packaged
) -> None:
    folder = cached(elsewhere.store, packaged.bundle, elsewhere.home / "cache")
    erase(context, _digest(packaged, VOICE), key_name="bert", reason=REASON)
    store = elsewhere.store
    assert isinstance(store, MemoryStore)
    store.inject(1, FaultKind.FAIL)
    cached(store, packaged.bundle, elsewhere.home / "cache")
    assert (folder / VOICE).exists()
    cached(store, packaged.bundle, elsewhere.home / "cache")
    assert not (folder / VOICE).exists()


def test_content_that_may_be_had_again_stays_in_the_cache(
    context: Context, elsewhere: Context, packaged: Packaged
) -> None:
    folder = cached(elsewhere.store, packaged.bundle, elsewhere.home / "cache")
    erase(context, _digest(packaged, VOICE), key_name="bert", reason=REASON)
    consent(context, _digest(packaged, VOICE), key_name="anna", reason="given anew by speaker 7")
    assert cached(elsewhere.store, packaged.bundle, elsewhere.home / "cache") == folder
    assert (folder / VOICE).exists()


def test_a_damaged_tombstone_takes_no_copy_away(context: Context, elsewhere: Context, packaged: Packaged) -> None:
    folder = cached(elsewhere.store, packaged.bundle, elsewhere.home / "cache")
    erase(context, _digest(packaged, WEIGHTS), key_name="bert", reason=REASON)
    assert isinstance(context.store, MemoryStore)
    context.store.objects[tombstone_key(_digest(packaged, WEIGHTS), 0)] = b"{}"
    with pytest.raises(Refused, match="envelope"):
        cached(elsewhere.store, packaged.bundle, elsewhere.home / "cache")
    assert folder.exists()
