"""Withdrawn consent (S5): what is erased stays out, what depended on it says so, and nothing is silently whole."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from contracts.bundle import Golden, GoldenFixture
from contracts.digest import Digest, short
from contracts.errors import DependencyFailed, NotFound, Refused, WrongCall
from contracts.routing import pointer_name
from contracts.tombstone import ABSENT, AbsentFiles
from operations import keys, pointer
from operations.context import Context
from operations.erase import consent, erase
from operations.golden import read_golden
from operations.restore import examine, examine_family, healthy, restore, verify_family
from registry.bundle import cached, verify_folder
from registry.ledger import Ledger
from registry.resolver import candidates
from registry.store.keeping import tombstone_key
from registry.store.memory import Crash, FaultKind, MemoryStore
from registry.tombstones import read_named
from tests.operations.gated_releases import FAMILY, open_installation
from tests.operations.packaged import Packaged

REASON = "consent withdrawn by speaker 7"
VOICE = "golden/audio/000.wav"
GOLDEN = Golden(
    max_word_edits=0,
    fixtures=(
        GoldenFixture(fixture_id="one", audio="audio/000.wav", text="on"),
        GoldenFixture(fixture_id="two", audio="audio/001.wav", text="off"),
    ),
)


def _packaged(context: Context, folder: Path, version: str = "v2", **changes: Any) -> Packaged:
    more = {VOICE: b"RIFF voice", "golden/audio/001.wav": b"RIFF other", "golden/golden.json": GOLDEN.canonical()}
    return Packaged(context, folder / version, version=version, more=more, **changes)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    opened = open_installation(tmp_path)
    (tmp_path / "params.yaml").write_text(f"defaults: {{}}\nfamilies: {{{FAMILY}: {{}}}}\n")
    return opened


@pytest.fixture
def packaged(context: Context, tmp_path: Path) -> Packaged:
    return _packaged(context, tmp_path)


def _digest(packaged: Packaged, path: str) -> Digest:
    return packaged.manifest.files[path].sha256


def test_an_erased_fixture_is_gone_and_its_bundle_says_so(context: Context, packaged: Packaged, tmp_path: Path) -> None:
    voice = _digest(packaged, VOICE)
    done = erase(context, voice, key_name="bert", reason=REASON)
    assert not context.store.has_blob(voice)
    assert [(use.bundle, use.paths, use.unusable) for use in done.uses] == [(packaged.bundle, (VOICE,), False)]
    said = f"{VOICE}: erased on 2026-11-20 by bert: {REASON}"
    assert examine(context, FAMILY, packaged.bundle) == ([], [said], True)
    assert healthy(context, FAMILY, packaged.bundle) == []
    assert verify_family(context, FAMILY) == []
    assert examine_family(context, FAMILY).absent == [f"bundle v2 {short(packaged.bundle)}: {said}"]
    restored = restore(context, FAMILY, packaged.bundle, tmp_path / "out")
    assert restored.absent == (said,)
    assert restored.files == len(packaged.manifest.files) - 1
    note = AbsentFiles.parse((tmp_path / "out" / ABSENT).read_bytes())
    assert (note.bundle, list(note.files)) == (packaged.bundle, [VOICE])
    assert verify_folder(tmp_path / "out", packaged.manifest) == []


def test_the_golden_proof_passes_over_erased_fixtures_and_needs_one_that_is_left(
    context: Context, packaged: Packaged
) -> None:
    erase(context, _digest(packaged, VOICE), key_name="anna", reason=REASON)
    folder = cached(context.store, packaged.bundle, context.home / "cache")
    assert [fixture.fixture_id for fixture in read_golden(folder).fixtures] == ["two"]
    erase(context, _digest(packaged, "golden/audio/001.wav"), key_name="anna", reason=REASON)
    with pytest.raises(Refused) as raised:
        read_golden(cached(context.store, packaged.bundle, context.home / "cache"))
    assert str(raised.value) == (
        "no golden fixture is left to prove the bundle with\n"
        f"  where: {packaged.bundle}\n"
        "  got: 2 fixtures, 2 erased\n"
        "  expected: one fixture or more\n"
        "  next step: serve another bundle, or release the candidate again with fixtures that may be kept"
    )


def test_a_copy_in_the_cache_loses_the_fixture_and_stays_whole_otherwise(context: Context, packaged: Packaged) -> None:
    folder = cached(context.store, packaged.bundle, context.home / "cache")
    assert (folder / VOICE).is_file()
    erase(context, _digest(packaged, VOICE), key_name="bert", reason=REASON)
    assert not (folder / VOICE).exists()
    before = (folder / "payload" / "weights.safetensors").stat().st_ino
    assert cached(context.store, packaged.bundle, context.home / "cache") == folder
    assert (folder / "payload" / "weights.safetensors").stat().st_ino == before
    (folder / "MODEL_CARD.md").unlink()
    assert [fault.path for fault in verify_folder(folder, packaged.manifest)] == ["MODEL_CARD.md"]
    erase(context, _digest(packaged, "golden/audio/001.wav"), key_name="bert", reason=REASON)
    assert [fault.path for fault in verify_folder(folder, packaged.manifest)] == ["MODEL_CARD.md"]


def test_a_bundle_without_its_weights_is_no_candidate_and_is_not_restored(
    context: Context, packaged: Packaged, tmp_path: Path
) -> None:
    newer = _packaged(context, tmp_path, version="v3", weights=b"others")
    for one in (packaged, newer):
        one.promote()
    weights = _digest(packaged, "payload/weights.safetensors")
    assert candidates(context.ledger(FAMILY).state()) == [packaged.bundle]
    assert erase(context, weights, key_name="bert", reason=REASON).uses[0].unusable
    assert candidates(context.ledger(FAMILY).state()) == []
    said = f"payload/weights.safetensors: erased on 2026-11-20 by bert: {REASON}"
    assert healthy(context, FAMILY, packaged.bundle) == [said]
    assert verify_family(context, FAMILY)[1:] == []
    with pytest.raises(Refused) as raised:
        restore(context, FAMILY, packaged.bundle, tmp_path / "out")
    assert str(raised.value) == (
        "a bundle cannot be restored: a file that it runs from was erased\n"
        "  where: memory://memory, payload/weights.safetensors\n"
        f"  got: erased on 2026-11-20 by bert: {REASON}\n"
        "  expected: every file that the bundle runs from\n"
        "  next step: restore another bundle (soundcheck status), or release a candidate without this content"
    )
    assert not (tmp_path / "out").exists()


def test_erased_content_stays_out_until_consent_is_given_anew(context: Context, packaged: Packaged) -> None:
    voice = _digest(packaged, VOICE)
    with pytest.raises(Refused, match="this content is not erased"):
        consent(context, voice, key_name="anna", reason="given anew")
    erase(context, voice, key_name="bert", reason=REASON)
    with pytest.raises(Refused, match="this content was erased, and is not stored again"):
        context.store.put_blob(b"RIFF voice")
    consent(context, voice, key_name="anna", reason="given anew by speaker 7")
    assert context.store.put_blob(b"RIFF voice") == voice
    assert examine(context, FAMILY, packaged.bundle) == ([], [], True)
    erase(context, voice, key_name="bert", reason=REASON)
    assert not context.store.has_blob(voice)
    assert [event.step for event in context.ledger(FAMILY).events()][-3:] == ["erase", "consent", "erase"]


def test_data_that_was_erased_is_not_reported_as_lost(context: Context) -> None:
    """What `restore --with-data` says of the list of the training data."""
    rows = context.store.put_blob(b"PAR1 rows")
    assert read_named(context.store, rows, "the list") == b"PAR1 rows"
    erase(context, rows, key_name="bert", reason=REASON)
    with pytest.raises(Refused) as raised:
        read_named(context.store, rows, "the list")
    assert str(raised.value) == (
        "the list cannot be had: it was erased\n"
        f"  where: memory://memory, blob {short(rows)}\n"
        f"  got: erased on 2026-11-20 by bert: {REASON}\n"
        "  expected: content that nobody has withdrawn"
    )
    with pytest.raises(NotFound):
        read_named(context.store, "f" * 64, "the list")


def test_what_users_are_served_from_is_not_erased(context: Context, packaged: Packaged) -> None:
    seen = pointer.current(context, FAMILY)
    pointer.move(context, FAMILY, seen, stable=packaged.bundle, actor="tests", reason="a test")
    assert context.store.pointer(pointer_name(FAMILY)) is not None
    with pytest.raises(Refused, match="users are served from this file"):
        erase(context, _digest(packaged, "payload/weights.safetensors"), key_name="bert", reason=REASON)
    assert context.store.has_blob(_digest(packaged, "payload/weights.safetensors"))
    erase(context, _digest(packaged, VOICE), key_name="bert", reason=REASON)


def test_a_document_of_the_chain_is_not_erased(context: Context, packaged: Packaged) -> None:
    for digest in (packaged.bundle, packaged.inputs["train_manifest"], packaged.envelopes["signature"]):
        with pytest.raises(Refused, match="a document of the chain of evidence cannot be erased"):
            erase(context, digest, key_name="bert", reason=REASON)


@pytest.mark.parametrize("key", ["builder", "root"])
def test_only_operators_and_approvers_erase(context: Context, packaged: Packaged, key: str) -> None:
    with pytest.raises(Refused, match=f"the key '{key}' may not act as operator"):
        erase(context, _digest(packaged, VOICE), key_name=key, reason=REASON)


def test_a_reason_and_a_known_blob_are_needed(context: Context, packaged: Packaged) -> None:
    with pytest.raises(WrongCall, match="an erasure needs a reason"):
        erase(context, _digest(packaged, VOICE), key_name="bert", reason=" ")
    with pytest.raises(NotFound, match="no blob ffffffffffff, and no family names one"):
        erase(context, "f" * 64, key_name="bert", reason=REASON)


def test_a_tombstone_that_nobody_entitled_signed_explains_nothing(context: Context, packaged: Packaged) -> None:
    """Somebody who can write to the store cannot pass a missing fixture off as erased."""
    voice = _digest(packaged, VOICE)
    erase(context, voice, key_name="bert", reason=REASON)
    envelope = context.store.read(tombstone_key(voice, 0))
    assert isinstance(context.store, MemoryStore)
    context.store.objects[tombstone_key(voice, 0)] = envelope.replace(b'"sig":"', b'"sig":"00')
    found = examine(context, FAMILY, packaged.bundle)
    assert (found.absent, found.faults) == ([], [f"{VOICE}: missing (no blob {short(voice)})"])


def test_a_key_that_is_revoked_later_has_still_erased(context: Context, packaged: Packaged) -> None:
    erase(context, _digest(packaged, VOICE), key_name="bert", reason=REASON)
    keys.revoke(context, "bert", "retired")
    assert examine(context, FAMILY, packaged.bundle).faults == []


@pytest.mark.parametrize("kind", [FaultKind.FAIL, FaultKind.CRASH_BEFORE, FaultKind.CRASH_AFTER])
def test_an_erasure_that_fails_at_any_call_is_run_again_to_its_end(tmp_path: Path, kind: FaultKind) -> None:
    """Every seventh call, from the first to the last: they are of few kinds."""
    for call in itertools.count(1, 7):
        context = open_installation(tmp_path / str(call))
        (tmp_path / str(call) / "params.yaml").write_text(f"defaults: {{}}\nfamilies: {{{FAMILY}: {{}}}}\n")
        packaged = _packaged(context, tmp_path / str(call))
        voice, store = _digest(packaged, VOICE), context.store
        assert isinstance(store, MemoryStore)
        before = store.calls
        store.inject(call, kind)
        try:
            erase(context, voice, key_name="bert", reason=REASON)
        except (DependencyFailed, Crash):
            erase(context, voice, key_name="bert", reason=REASON)
        if store.calls - before < call:
            return
        assert not store.has_blob(voice)
        assert [event.step for event in Ledger(store, FAMILY).events()].count("erase") == 1
        assert examine(context, FAMILY, packaged.bundle).faults == []
