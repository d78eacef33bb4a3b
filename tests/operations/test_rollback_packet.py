"""Finding a bundle's packet: as it was packaged, where the bundle stands now, made again for an earlier version's."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.errors import Corrupt, NotFound, Refused
from contracts.routing import CanaryRoute, RouteTable, pointer_name
from operations.context import Context, put
from operations.rollback_packet import PACKET, find, make, stable_bundle
from operations.settings import Settings
from registry.bundle import assemble, freeze
from registry.store.keys import blob_key
from registry.store.memory import MemoryStore
from tests.pages import release_examples
from tests.pages.packet_examples import documents
from tests.registry.registry_parts import flipped, write_folder

FAMILY = "asr-commands"
AT = "2026-11-20T12:00:00.000Z"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def context(store: MemoryStore, tmp_path: Path) -> Context:
    return Context(Settings(tmp_path, tmp_path / "home"), store, lambda: datetime(2026, 11, 21, 2, 7, tzinfo=UTC))


def _packaged(context: Context, folder: Path, content: bytes) -> str:
    """A bundle with this packet, and its package event."""
    manifest = assemble(write_folder(folder, {PACKET: content, "payload/x": b"x"}), family=FAMILY, version="v2")
    bundle = freeze(context.store, folder, manifest)
    made = documents()
    names = ("train_manifest", "registry_entry", "policy", "score_report", "safety_report")
    inputs = dict(zip(names, put(context, *made), strict=True))
    context.ledger(FAMILY).append("package", "complete", at=AT, release="r", inputs=inputs, outputs={"bundle": bundle})
    return bundle


def _routed(context: Context, *, stable: str | None, canary: str | None = None) -> None:
    route = CanaryRoute(bundle=canary, stage="wide", weight=0.5) if canary else None
    table = RouteTable(
        family=FAMILY, version=1, stable=stable, canary=route, ledger_sequence=0, ledger_head="0" * 64, moved_at=AT,
        actor="anna", reason="a test",
    )  # fmt: skip
    context.store.swap(pointer_name(FAMILY), table.canonical(), expected=None)


def test_the_packet_is_the_one_in_the_bundle(context: Context, tmp_path: Path) -> None:
    packet = make(documents()).model_copy(update={"customer_message": "as it was written then"})
    bundle = _packaged(context, tmp_path / "bundle", packet.canonical())
    found = find(context, FAMILY, bundle)
    assert (found.packet, found.bundle, found.now) == (packet, bundle, "2026-11-21T02:07:00.000Z")
    assert (found.evidence, found.canary, found.target_version) == (None, None, None)


@pytest.mark.parametrize(("routed", "place"), [("stable", "stable"), ("canary", "canary"), ("neither", "not routed")])
def test_it_says_where_the_bundle_stands(context: Context, tmp_path: Path, routed: str, place: str) -> None:
    bundle = _packaged(context, tmp_path / "bundle", make(documents()).canonical())
    _routed(context, stable=bundle if routed == "stable" else "c" * 64, canary=bundle if routed == "canary" else None)
    assert find(context, FAMILY, bundle).place == place


def test_what_became_of_the_release_is_in_it(context: Context, tmp_path: Path) -> None:
    bundle = _packaged(context, tmp_path / "bundle", make(documents()).canonical())
    canary = release_examples.promoted().canary
    assert canary is not None
    (report,) = put(context, canary)
    ledger = context.ledger(FAMILY)
    ledger.append("canary", "fail", at=AT, release="r", outputs={"canary_report": report})
    ledger.append("request_approval", "complete", at=AT, release="r", outputs={"evidence": "e" * 64})
    ledger.append("request_approval", "complete", at=AT, release="another", outputs={"evidence": "f" * 64})
    found = find(context, FAMILY, bundle)
    assert (found.canary, found.evidence) == (canary, "e" * 64)


def test_an_earlier_versions_packet_is_made_again(context: Context, tmp_path: Path) -> None:
    old = json.dumps({"version": "asr-commands v2", "command": "soundcheck rollback asr-commands"}).encode()
    bundle = _packaged(context, tmp_path / "bundle", old)
    assert find(context, FAMILY, bundle).packet == make(documents())


def test_a_damaged_packet_is_corrupt_and_not_made_again(context: Context, store: MemoryStore, tmp_path: Path) -> None:
    content = make(documents()).canonical()
    bundle = _packaged(context, tmp_path / "bundle", content)
    key = blob_key(make(documents()).digest())
    store.objects[key] = flipped(content, 80)
    with pytest.raises(Corrupt, match="a blob's bytes are not what its digest says"):
        find(context, FAMILY, bundle)


def test_a_bundle_that_was_not_packaged_is_not_found(context: Context) -> None:
    with pytest.raises(NotFound, match="asr-commands has not packaged this bundle"):
        find(context, FAMILY, "d" * 64)


def test_a_family_without_a_stable_bundle_says_what_to_name(context: Context) -> None:
    with pytest.raises(Refused) as raised:
        stable_bundle(context, FAMILY)
    assert raised.value.what == "this family has no stable bundle, so there is no packet"
    assert raised.value.next_step == "name a bundle (`soundcheck status asr-commands`), or release one"
    _routed(context, stable="c" * 64)
    assert stable_bundle(context, FAMILY) == "c" * 64
