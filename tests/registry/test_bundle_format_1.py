"""Format version 1: a store that the first version wrote is read, verified and restored bit for bit (S3, fault 30).

The fixture is never remade; a later format gets a fixture of its own beside it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from contracts.bundle import BundleManifest, Golden
from contracts.digest import sha256_bytes
from contracts.document import Document
from contracts.errors import SoundcheckError
from contracts.feature_contract import FeatureContract
from contracts.registry_entry import RegistryEntry
from contracts.reports import SafetyReport, ScoreReport
from contracts.rollback_packet import RollbackPacket
from contracts.routing import RouteTable, pointer_name
from contracts.train_manifest import TrainManifest
from registry.bundle import cached, load_manifest, restore, verify, verify_folder
from registry.keyring import EnrolledKey, Keyring
from registry.ledger import Ledger
from registry.signing import BUNDLE_TYPE, verify_envelope
from registry.store.local import LocalStore
from tests.fixtures import make_format_1
from tests.registry.registry_parts import flipped, read_folder

FIXTURE = Path(make_format_1.__file__).parent / "format-1"
BUNDLE = "0e0a5863eed43e95c4302993fb9ff34a9705dd0022f09b001da9e089081695a1"
EXPECTED: dict[str, Any] = json.loads((FIXTURE / "expected.json").read_text())
DOCUMENTS: dict[str, type[Document]] = {
    "registry_entry.json": RegistryEntry,
    "train_manifest.json": TrainManifest,
    "reports/quality.json": ScoreReport,
    "reports/safety.json": SafetyReport,
    "rollback_packet.json": RollbackPacket,
    "golden/golden.json": Golden,
    "payload/feature_contract.json": FeatureContract,
}


@pytest.fixture
def kept(tmp_path: Path) -> LocalStore:
    """The kept store, in a folder that may be written to."""
    return LocalStore(Path(shutil.copytree(FIXTURE / "store", tmp_path / "store")))


def test_it_is_restored_bit_for_bit(kept: LocalStore, tmp_path: Path) -> None:
    manifest = restore(kept, BUNDLE, tmp_path / "out")
    found = {path: (sha256_bytes(content), len(content)) for path, content in read_folder(tmp_path / "out").items()}
    assert found == {path: (entry["sha256"], entry["size"]) for path, entry in EXPECTED["files"].items()}
    assert manifest.format_version == 1
    assert manifest.digest() == EXPECTED["bundle"] == BUNDLE
    assert verify(kept, BUNDLE) == []
    assert verify_folder(cached(kept, BUNDLE, tmp_path / "cache"), manifest) == []


def test_every_file_of_the_layout_is_in_it() -> None:
    layout = (
        "payload/runtime.json", "payload/feature_contract.json", "text_normalizer.json", "safety_filters.json",
        "routing_rules.json", "runtime.lock", "registry_entry.json", "train_manifest.json", "reports/quality.json",
        "reports/safety.json", "MODEL_CARD.md", "rollback_packet.json", "golden/golden.json", "golden/audio/000.wav",
    )  # fmt: skip
    assert set(layout) <= set(EXPECTED["files"])
    assert "payload/tokenizer/wörter.txt" in EXPECTED["files"]
    assert EXPECTED["files"]["payload/empty.txt"]["size"] == 0


@pytest.mark.parametrize("path", sorted(DOCUMENTS))
def test_its_documents_are_read_by_this_version(kept: LocalStore, path: str) -> None:
    document = DOCUMENTS[path].parse(kept.read_blob(EXPECTED["files"][path]["sha256"]), where=path)
    assert DOCUMENTS[path].parse(document.canonical()) == document


def test_its_ledger_pointer_and_signature_hold(kept: LocalStore) -> None:
    pointer = kept.pointer(pointer_name("asr-commands"))
    assert pointer is not None
    table = RouteTable.parse(pointer.content)
    assert table.stable == BUNDLE
    ledger = Ledger(kept, "asr-commands")
    assert ledger.verify(anchor=(table.ledger_sequence, table.ledger_head)) == []
    assert [(event.step, event.outcome) for event in ledger.events()] == [
        ("package", "complete"), ("promote", "start"), ("promote", "complete"),
    ]  # fmt: skip
    assert ledger.state().current == BUNDLE
    ring = Keyring(keys=(EnrolledKey.model_validate(EXPECTED["key"]),))
    envelope = kept.read_blob(EXPECTED["signature"])
    said = verify_envelope(envelope, ring, role="builder", predicate_type=BUNDLE_TYPE, subject=BUNDLE)
    assert said.predicate == load_manifest(kept, BUNDLE).as_json()


def test_this_version_writes_the_same_bundle(tmp_path: Path) -> None:
    """Format 1 is what it was: where this fails, the format has changed and needs a new version number."""
    digest, manifest = make_format_1.freeze_bundle(LocalStore(tmp_path / "made"))
    assert digest == BUNDLE
    assert isinstance(manifest, BundleManifest)
    blobs = {path: content for path, content in read_folder(FIXTURE / "store").items() if path.startswith("blobs/")}
    made = read_folder(tmp_path / "made")
    assert made.items() <= blobs.items()
    assert len(made) == len({entry["sha256"] for entry in EXPECTED["files"].values()}) + 1


def test_a_flipped_bit_in_any_file_of_the_kept_store_is_found(kept: LocalStore) -> None:
    """Faults 21 and 23: blobs, manifest, ledger, pointer, signature."""
    table = RouteTable.parse(kept.read_blob(_table_digest(kept)))
    unread = {f"blobs/sha256/{table.digest()[:2]}/{table.digest()[2:]}"}
    for path, content in read_folder(kept.root).items():
        target = kept.root / path
        if path in unread or not content:
            continue
        target.chmod(0o644)
        target.write_bytes(flipped(content, 8 * (len(content) // 2)))
        assert _faults(kept), path
        target.write_bytes(content)
    assert not _faults(kept)


def _table_digest(store: LocalStore) -> str:
    pointer = store.pointer(pointer_name("asr-commands"))
    assert pointer is not None
    return sha256_bytes(pointer.content)


def _faults(store: LocalStore) -> list[str]:
    """Everything that reading the store again finds."""
    found = [str(fault) for fault in verify(store, BUNDLE)]
    try:
        pointer = store.pointer(pointer_name("asr-commands"))
        table = RouteTable.parse(pointer.content) if pointer else None
        anchor = (table.ledger_sequence, table.ledger_head) if table else None
        found += Ledger(store, "asr-commands").verify(anchor=anchor)
        ring = Keyring(keys=(EnrolledKey.model_validate(EXPECTED["key"]),))
        verify_envelope(store.read_blob(EXPECTED["signature"]), ring, subject=BUNDLE)
    except SoundcheckError as error:
        found.append(error.what)
    return found
